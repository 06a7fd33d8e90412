"""What the lab holds, as choices of a form: the newest, what is chosen already, what is searched.

A list that is longer than a form can hold is searched on the server. What is chosen is always
among the choices, however old it is; what is chosen and not among them is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.contracts.access import Need
from app.contracts.jobs import JobKind
from app.contracts.views import DatasetView, JobView, ModelView
from app.services import datasets, jobs, models
from app.services.lab import Lab
from app.web.forms.specs import Choice
from app.web.words import percent

MODELS_SHOWN = 100
JOBS_SHOWN = 50


@dataclass(frozen=True)
class Offer:
    """Choices of one field."""

    choices: tuple[Choice, ...]
    more: bool = False
    """Whether the lab has others, which a search finds."""
    search: str = ""
    """What was searched; outside text."""


def offered_datasets(lab: Lab, chosen: Sequence[str] = (), search: str = "") -> Offer:
    """The datasets `chosen`, and the newest or those that `search` finds."""
    if search:
        shown, more = datasets.search(lab, search, limit=datasets.MOST_OFFERED), True
    else:
        page = datasets.page(lab, page_size=datasets.MOST_OFFERED)
        shown, more = list(page.items), page.pages > 1
    absent = sorted(set(chosen) - {view.id for view in shown})
    older = datasets.by_id(lab, absent) if absent else {}
    choices = (Choice(view.id, view.name, help=_extent(view)) for view in (*older.values(), *shown))
    return Offer(tuple(choices), more, search)


def _extent(view: DatasetView) -> str:
    images = view.report.train_images
    what = f"{images:,} training images" if images else "for evaluation only"
    return f"{len(view.report.classes)} classes, {what}"


@dataclass(frozen=True)
class KnownModels:
    """Models that a form knows: those chosen, then the newest or those found, newest first."""

    views: tuple[ModelView, ...]
    more: bool
    search: str

    @property
    def offer(self) -> Offer:
        """Clean ones apart from those trained to resist and from imported ones."""
        return Offer(tuple(map(_of_model, self.views)), self.more, self.search)


def known_models(
    lab: Lab, chosen: Sequence[str] = (), search: str = "", *, giving: Sequence[Need] = ()
) -> KnownModels:
    """The models `chosen`, and the newest or those that `search` finds; those that give all of
    `giving`."""
    if search:
        shown, more = models.search(lab, search, limit=MODELS_SHOWN), True
    else:
        page = models.page(lab, archived=False, page_size=MODELS_SHOWN)
        shown, more = page.items, page.pages > 1
    absent = sorted(set(chosen) - {view.id for view in shown})
    older = models.by_id(lab, absent) if absent else {}
    views = (*older.values(), *shown)
    return KnownModels(tuple(v for v in views if v.card.gives(*giving)), more, search)


def _of_model(view: ModelView) -> Choice:
    return Choice(view.id, view.name, _group(view), _in_short(view))


def _group(view: ModelView) -> str:
    if not view.card.gives(Need.GRADIENTS):
        return "Black boxes"
    recipe = view.card.recipe
    if recipe is None:
        return "Imported models"
    return "Robust models" if recipe.is_robust else "Clean models"


def _in_short(view: ModelView) -> str:
    card = view.card
    if not card.gives(Need.GRADIENTS):
        return f"{card.access.record.title}, {card.architecture}, {card.dataset.name}"
    how = (
        card.architecture
        if card.params is None
        else f"{card.params.recipe_name}, {card.architecture}"
    )
    if card.validation_clean is None:
        return f"{how}, {card.dataset.name}"
    figures = f"validation: clean {percent(card.validation_clean.value)}"
    if card.validation_robust is not None:
        figures += f", robust {percent(card.validation_robust.value)}"
    return f"{how}, {card.dataset.name}; {figures}"


def resumable_jobs(lab: Lab, chosen: Sequence[str] = (), search: str = "") -> Offer:
    """Trainings that ended early and left a checkpoint."""
    shown = jobs.resumable(lab, search, limit=JOBS_SHOWN)
    absent = sorted(set(chosen) - {job.id for job in shown})
    older = [job for each in absent for job in jobs.resumable(lab, each, limit=1)]
    ended = jobs.page(lab, kinds=[JobKind.TRAIN], statuses=jobs.ENDED_EARLY, page_size=1).total
    more = bool(search) or ended > JOBS_SHOWN
    return Offer(tuple(map(_of_job, (*older, *shown))), more, search)


def _of_job(job: JobView) -> Choice:
    return Choice(job.id, f"{job.title} ({job.status})")
