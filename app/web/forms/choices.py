"""What the lab holds, as choices of a form."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.views import DatasetView, ModelView
from app.services import datasets, jobs, models
from app.services.lab import Lab
from app.web.forms.specs import Choice
from app.web.words import percent

_MODELS_SHOWN = 100


def all_models(lab: Lab) -> tuple[ModelView, ...]:
    """The newest models, as many as a form can hold."""
    return models.page(lab, page_size=_MODELS_SHOWN).items


def dataset_choices(lab: Lab) -> tuple[Choice, ...]:
    return tuple(
        Choice(view.id, view.name, help=_extent(view)) for view in datasets.all_datasets(lab)
    )


def _extent(view: DatasetView) -> str:
    return f"{len(view.report.classes)} classes, {view.report.train_images:,} training images"


def model_choices(views: Sequence[ModelView]) -> tuple[Choice, ...]:
    """Models, clean ones apart from those trained to resist and from imported ones."""
    return tuple(Choice(view.id, view.name, _group(view), _in_short(view)) for view in views)


def _group(view: ModelView) -> str:
    recipe = view.card.recipe
    if recipe is None:
        return "Imported models"
    return "Robust models" if recipe.is_robust else "Clean models"


def _in_short(view: ModelView) -> str:
    card = view.card
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


def resumable_jobs(lab: Lab) -> tuple[Choice, ...]:
    """The newest training jobs that ended early and left a checkpoint."""
    ended = [JobStatus.CANCELLED, JobStatus.FAILED]
    page = jobs.page(lab, kinds=[JobKind.TRAIN], statuses=ended, page_size=50)
    left = (job for job in page.items if lab.files.has_checkpoint(job.id))
    return tuple(Choice(job.id, f"{job.title} ({job.status})") for job in left)
