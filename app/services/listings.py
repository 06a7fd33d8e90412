"""Jobs and models in tables: a page of them, with the figures that each has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from app.contracts.attacks import Norm
from app.contracts.board import Figures
from app.contracts.jobs import JobKind
from app.contracts.listings import JobFilter, ModelFilter
from app.contracts.results import Accuracy, Light, ModelCard
from app.contracts.views import JobView, ModelView, Page
from app.errors import InvalidInput
from app.services import job_views, models, ownership
from app.services.lab import Lab
from app.store import catalogue, job_queries, listings, marks, measurements
from app.store.tables import JobRow, MeasurementRow, ModelRow


@dataclass(frozen=True)
class JobLine:
    """A job in a table."""

    job: JobView
    dataset: str
    """The name of what it trains on or measures with; empty where it needs none, or it is gone."""
    recipe: str
    """As papers call it; empty where it has none."""
    epochs: int | None
    figures: Figures | None


@dataclass(frozen=True)
class ModelLine:
    """A model in a table."""

    model: ModelView
    measured: Figures | None
    """By its latest evaluation."""


_JobLines, _ModelLines = Page[JobLine], Page[ModelLine]


def job_lines(lab: Lab, asked: JobFilter, *, page: int, page_size: int) -> Page[JobLine]:
    """A page of the jobs asked for; parts of ablations are on the ablation's page."""
    rows, total = listings.jobs(lab.database, asked, offset=(page - 1) * page_size, limit=page_size)
    return _JobLines(items=_lines(lab, rows), total=total, page=page, page_size=page_size)


def lines_of(lab: Lab, job_ids: Collection[str]) -> tuple[JobLine, ...]:
    """These jobs as far as they are there, in no order."""
    return _lines(lab, list(job_queries.by_id(lab.database, job_ids).values())) if job_ids else ()


def _lines(lab: Lab, rows: Sequence[JobRow]) -> tuple[JobLine, ...]:
    views = job_views.views(lab, rows)
    names = catalogue.names(lab.database, {row.dataset_id for row in rows if row.dataset_id})
    figures = _figures_of(lab, rows)
    return tuple(
        JobLine(
            job=view,
            dataset=names.get(row.dataset_id or "", ""),
            recipe=job_views.recipe_name(view),
            epochs=row.epochs,
            figures=figures.get(row.id),
        )
        for row, view in zip(rows, views, strict=True)
    )


def _figures_of(lab: Lab, rows: Sequence[JobRow]) -> dict[str, Figures]:
    evaluations = [row.id for row in rows if row.kind == JobKind.EVALUATE]
    trainings = [row.id for row in rows if row.kind == JobKind.TRAIN]
    measured: dict[str, list[MeasurementRow]] = {}
    for row in listings.measured_in(lab.database, evaluations) if evaluations else ():
        measured.setdefault(row.job_id, []).append(row)
    found = {job: _best(of_job) for job, of_job in measured.items()}
    return found | figures_of_trainings(lab, trainings)


def figures_of_trainings(lab: Lab, job_ids: Sequence[str]) -> dict[str, Figures]:
    """Of the best epochs that are still there, by training."""
    trained = listings.best_models_of(lab.database, job_ids) if job_ids else {}
    return {
        job: figures
        for job, model in trained.items()
        if (figures := _held_out(ModelCard.model_validate(model.card))) is not None
    }


def _best(rows: Sequence[MeasurementRow]) -> Figures:
    return measured(measurements.most_robust(rows), models=len(rows))


def measured(row: MeasurementRow, *, models: int = 1) -> Figures:
    """What an evaluation found, with intervals."""

    def share(correct: int | None) -> Accuracy | None:
        return None if correct is None else Accuracy.of(correct, row.images)

    return Figures(
        clean=Accuracy.of(row.clean, row.images),
        robust=share(row.robust),
        autoattack=share(row.autoattack),
        held_out=False,
        norm=Norm(row.norm),
        epsilon=row.epsilon,
        light=None if row.light is None else Light(row.light),
        job=row.job_id,
        models=models,
    )


def _held_out(card: ModelCard) -> Figures | None:
    if card.validation_clean is None or card.params is None:
        return None
    return Figures(
        clean=card.validation_clean,
        robust=card.validation_robust,
        autoattack=None,
        held_out=True,
        epsilon=card.params.epsilon,
    )


def model_lines(lab: Lab, asked: ModelFilter, *, page: int, page_size: int) -> Page[ModelLine]:
    """A page of the models asked for."""
    rows, total = listings.models(
        lab.database, asked, offset=(page - 1) * page_size, limit=page_size
    )
    latest = listings.latest_of(lab.database, [row.id for row in rows]) if rows else {}
    lines = tuple(
        ModelLine(view, measured(latest[view.id]) if view.id in latest else None)
        for view in models.views(lab, rows)
    )
    return _ModelLines(items=lines, total=total, page=page, page_size=page_size)


def latest_evaluations(lab: Lab, model_ids: Sequence[str]) -> list[str]:
    """The jobs of the models' latest evaluations, each once. Raises InvalidInput and NotFound."""
    if not model_ids:
        raise InvalidInput("Nothing is chosen.", hint="Tick at least one row.")
    latest = listings.latest_of(lab.database, model_ids)
    for model in model_ids:
        if model not in latest:
            name = models.get(lab, model).name
            raise InvalidInput(f"“{name}” was not evaluated yet.", hint="Evaluate it first.")
    return list(dict.fromkeys(latest[model].job_id for model in model_ids))


@dataclass(frozen=True)
class Choices:
    """What a list can be narrowed to; pairs of a value and what it is called."""

    datasets: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    binned: int
    """How many there are in the bin."""
    owners: tuple[str, ...]
    """The accounts; none where the lab has none."""


def job_choices(lab: Lab) -> Choices:
    return Choices(
        owners=ownership.accounts(lab),
        datasets=tuple(listings.newest_datasets(lab.database)),
        tags=tuple(marks.all_tags(lab.database, JobRow)),
        binned=marks.in_bin(lab.database, JobRow),
    )


def model_choices(lab: Lab) -> Choices:
    return Choices(
        owners=ownership.accounts(lab),
        datasets=tuple(listings.datasets_of_models(lab.database)),
        tags=tuple(marks.all_tags(lab.database, ModelRow)),
        binned=marks.in_bin(lab.database, ModelRow),
    )
