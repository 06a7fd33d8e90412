"""What a running evaluation knows: bars like those of its result, from its first batch on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams
from app.contracts.results import Accuracy
from app.contracts.stored import understood
from app.contracts.views import JobView
from app.deps import LabDep
from app.errors import NotFound
from app.services import datasets, jobs, models
from app.services.lab import Lab
from app.web.charts import palette
from app.web.pages.inputs import IdPath
from app.web.pages.recipes import known_recipes
from app.web.render import Context, render


@dataclass(frozen=True)
class ModelSoFar:
    """One model; `name` is outside text."""

    model: str
    name: str
    identity: str
    images: int
    """How many the figures are of."""
    figures: tuple[tuple[str, Accuracy, str], ...]
    """As those of a headline."""
    attacks_left: int
    """How many have yet to run on some of these images; above 0 the figures are preliminary."""


@dataclass(frozen=True)
class SoFarContext(Context):
    """The figures of an evaluation so far, which its page fetches anew."""

    template: ClassVar[str] = "_estimate.html"

    job: JobView
    """In any state."""
    known: tuple[ModelSoFar, ...]
    """Models of which a first figure is there."""
    asked: int
    """How many images are to be measured."""


router = APIRouter(prefix="/jobs", route_class=ByMethod)


@router.get("/{job_id}/estimate")
def estimate(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment with the bars; pages fetch it while the job is unfinished."""
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.EVALUATE:
        raise NotFound("That job is no evaluation.", hint="Open the job itself.")
    known, asked = so_far(lab, job)
    return render(request, SoFarContext(job=job, known=known, asked=asked))


def so_far(lab: Lab, job: JobView) -> tuple[tuple[ModelSoFar, ...], int]:
    """Each model's latest estimate, and how many images are to be measured; nothing of a job of an
    earlier version of the lab."""
    params = understood(EvaluateParams, job.params)
    if params is None:
        return (), 0
    views = models.by_id(lab, params.models)
    hues = palette.colours(params.models, known_recipes(views))
    latest = _latest([event.body for event in jobs.charts_and_log(lab, job.id)])
    found = []
    for model in params.models:
        if f"{model}:clean" not in latest:
            continue
        (clean, images), (robust, _) = latest[f"{model}:clean"], latest[f"{model}:robust"]
        left = int(latest.get(f"{model}:attacks_left", (0, 0))[0])
        figures = (
            ("Clean", _accuracy(clean, images), "clean"),
            (
                "Robust, preliminary" if left else "Robust so far",
                _accuracy(robust, images),
                "attacked",
            ),
        )
        name, hue = views[model].name if model in views else model[:8], hues[model]
        found.append(ModelSoFar(model, name, palette.identity(hue), images, figures, left))
    return tuple(found), datasets.measured_images(lab, params)


def _latest(events: Sequence[dict[str, Any]]) -> dict[str, tuple[float, int]]:
    """The last value of everything that was estimated, and of how many images it is."""
    found: dict[str, tuple[float, int]] = {}
    for body in events:
        if body["type"] == "metrics" and body["series"] == "estimate":
            found |= {name: (value, body["step"]) for name, value in body["values"].items()}
    return found


def _accuracy(share: float, images: int) -> Accuracy:
    return Accuracy.of(round(share * images), images)
