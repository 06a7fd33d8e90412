"""The first page: what the models in the box show, what runs, and what was found last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.admission.routes import ByMethod
from app.contracts.results import EvaluationSummary
from app.contracts.views import Health, JobView
from app.contracts.words import counted
from app.deps import LabDep
from app.services import evaluations, front, showcase, upkeep
from app.services.front import Recent
from app.services.lab import Lab
from app.web.charts.base import Figure, Recipes
from app.web.charts.curves import against_epsilon, against_steps
from app.web.charts.showcase import box_curves
from app.web.pages.first_steps import Step, first_steps
from app.web.pages.headlines import Headlines, headlines
from app.web.pages.recipes import recipes_of
from app.web.pages.showcase_view import ShownBox, shown_box
from app.web.render import Context, render


@dataclass(frozen=True)
class HomeContext(Context):
    """Where the lab stands."""

    template: ClassVar[str] = "home.html"

    shown: ShownBox | None
    """What the models in the box show; None where the lab has none of them."""
    state: str
    """What workers, broker and webhook do, in one line."""
    ok: bool
    """Whether all of them answer."""
    steps: tuple[Step, ...]
    """What a newcomer does first; empty once all of it is done."""
    latest: JobView | None
    """The evaluation that is shown: pinned, or of the latest the one with the most models."""
    evaluation: Headlines | None
    """What it left; None where its file is gone."""
    figures: dict[str, Any]
    """Charts as Plotly JSON, by name: `box` of the showcase, the others of the evaluation."""
    recent: Recent
    """Jobs that are not over, and those that ended last."""


@dataclass(frozen=True)
class RecentContext(Context):
    """The jobs of the first page, which fetches them anew while one is unfinished."""

    template: ClassVar[str] = "_recent.html"

    recent: Recent
    """Jobs that are not over, and those that ended last."""


router = APIRouter(route_class=ByMethod)

_CHARTS = {"epsilon": against_epsilon, "steps": against_steps}
_FOR_EVER = "private, max-age=31536000, immutable"


@router.get("/")
def home(lab: LabDep, request: Request) -> Response:
    latest = front.evaluation(lab)
    found = None if latest is None else evaluations.left_by(lab, latest)
    recipes = {} if found is None else recipes_of(lab, [model.model for model in found.models])
    health, shown = upkeep.health(lab), shown_box(lab)
    context = HomeContext(
        shown=shown,
        state=_state(health),
        ok=health.ok and not (health.webhook and health.webhook.failure),
        steps=first_steps(lab, evaluated=latest is not None),
        latest=latest,
        evaluation=None if found is None else headlines(found, recipes),
        figures=_box_figures(lab) | ({} if found is None else _figures(found, recipes)),
        recent=front.recent(lab),
    )
    return render(request, context)


@router.get("/recent")
def recent(lab: LabDep, request: Request) -> Response:
    """The fragment with the jobs; a person who comes here is sent to the whole page."""
    if "hx-request" not in request.headers:
        return RedirectResponse("/#jobs")
    return render(request, RecentContext(recent=front.recent(lab)))


@router.get("/showcase/{name}.json")
def shown_picture(lab: LabDep, name: str) -> Response:
    """What the attacks on a picture of the showcase left; the address changes with it."""
    document = showcase.document(lab, name)
    return Response(document, media_type="application/json", headers={"cache-control": _FOR_EVER})


def _box_figures(lab: Lab) -> dict[str, Figure]:
    facts = showcase.facts(lab)
    if facts is None:
        return {}
    drawn = box_curves(facts.curves, showcase.recipes(lab), showcase.autoattack(lab))
    return {} if drawn is None else {"box": drawn}


def _figures(found: EvaluationSummary, recipes: Recipes) -> dict[str, Figure]:
    drawn = {name: draw(found, recipes) for name, draw in _CHARTS.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _state(health: Health) -> str:
    said, webhook = [_of_jobs(health)], health.webhook
    if webhook is not None and webhook.failure:
        waiting = counted(webhook.waiting, "job")
        said.append(f"The webhook at {webhook.host} {webhook.failure}: news of {waiting} waits.")
    return " ".join((*said, *health.gaps))


def _of_jobs(health: Health) -> str:
    if health.trouble is not None:
        return f"{health.trouble} Jobs are kept, and run once that is over."
    if not health.broker:
        return "The broker does not answer: jobs are kept, and run when it is back."
    idle = [queue.queue for queue in health.queues if not queue.workers]
    if len(idle) == len(health.queues):
        return "No worker is there yet: jobs wait for one."
    if idle:
        return f"No worker for “{'” and “'.join(idle)}” is there yet: such jobs wait."
    drained = [queue.queue for queue in health.queues if queue.workers == queue.drained]
    if drained:
        return f"Nobody takes jobs of “{'” and “'.join(drained)}”: the workers are drained."
    running = sum(queue.running for queue in health.queues)
    waiting = sum(queue.waiting for queue in health.queues)
    if not running and not waiting:
        several = "".join(f", {q.workers} for “{q.queue}”" for q in health.queues if q.workers > 1)
        return f"Ready: every kind of job has a worker{several}."
    said = f"{counted(running, 'job')} running"
    return f"{said}, {waiting} waiting." if waiting else f"{said}."
