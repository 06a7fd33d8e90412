"""Evaluations in figures that can be sorted and filtered: one row a model, written with its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, and_, cast, func, select

from app.contracts.attacks import Goal
from app.contracts.results import EvaluationSummary, Light, ModelSummary, after_autoattack
from app.store.db import Database
from app.store.tables import JobRow, MeasurementRow, ModelRow


def of_evaluation(job_id: str, at: float, summary: EvaluationSummary) -> list[MeasurementRow]:
    """The rows of an evaluation that was over at `at`, in the order of its models."""
    return [
        _row(job_id, at, position, summary, model) for position, model in enumerate(summary.models)
    ]


def _row(
    job_id: str, at: float, position: int, summary: EvaluationSummary, model: ModelSummary
) -> MeasurementRow:
    attack, autoattack = summary.params.attack, after_autoattack(model.attacks)
    return MeasurementRow(
        job_id=job_id,
        position=position,
        at=at,
        model_id=model.model,
        model_name=model.name,
        dataset_sha256=summary.dataset.sha256,
        dataset_name=summary.dataset.name,
        norm=attack.norm,
        epsilon=summary.params.epsilon,
        goal=attack.goal,
        images=model.clean.n,
        clean=model.clean.correct,
        robust=None if model.robust is None else model.robust.correct,
        autoattack=None if autoattack is None else autoattack.correct,
        light=None if model.verdict is None else model.verdict.light,
    )


def most_robust(rows: Sequence[MeasurementRow]) -> MeasurementRow:
    """Of an evaluation's models; one whose figure is invalid only where all are."""
    return max(
        rows, key=lambda row: (row.light != Light.RED, -1 if row.robust is None else row.robust)
    )


def best_of(rows: Sequence[MeasurementRow]) -> dict[str, float | None]:
    """What an evaluation's own row is sorted by and told of: the shares of the most robust model.

    What is invalid by its verdict has no robust accuracy.
    """
    best = most_robust(rows)
    robust = ("robust", "autoattack") if best.light != Light.RED else ()
    found = dict.fromkeys(("clean", "robust", "autoattack"), None)
    counts = {name: getattr(best, name) for name in ("clean", *robust)}
    return found | {name: n if n is None else n / best.images for name, n in counts.items()}


def best_trained(rows: Sequence[Any]) -> dict[str, float | None]:
    """What a training's own row shows of the models among the rows that it leaves."""
    for row in rows:
        if isinstance(row, ModelRow) and row.card["kept"] == "best":
            figures = {name: row.card[f"validation_{name}"] for name in ("clean", "robust")}
            return {name: each and each["value"] for name, each in figures.items()}
    return {}


@dataclass(frozen=True)
class Threat:
    """What figures have to share to stand in one chart: images, norm, budget and goal."""

    dataset_sha256: str
    norm: str
    epsilon: float
    goal: str


@dataclass(frozen=True)
class Placed:
    """A measurement of a model that is on the list."""

    row: MeasurementRow
    name: str
    """As the model is called now."""
    recipe: str | None
    """None where it is not known."""
    steps: int | None
    """Of the attack that it was trained with; None where that is not known."""


_SHOWN = (
    JobRow.deleted_at.is_(None),
    JobRow.archived_at.is_(None),
    ModelRow.deleted_at.is_(None),
    ModelRow.archived_at.is_(None),
    MeasurementRow.goal != Goal.CLASS,
)
"""Evaluations towards one class leave its images out, and each towards another: none compares."""
INVALID = func.coalesce(MeasurementRow.light, "") == Light.RED
"""Whether the verdict says that a robust accuracy is none."""
_STRONGEST_FIRST = (
    INVALID,
    MeasurementRow.autoattack.is_(None),
    MeasurementRow.images.desc(),
    MeasurementRow.at.desc(),
)
"""Of a model's evaluations: one that is not invalid, then one with AutoAttack, then the one of most
images, then the newest."""


def threats(database: Database) -> list[tuple[Threat, str, int]]:
    """Every threat model under which something was measured, with the dataset's name and the
    number of models; those of most models first.
    """
    columns = (
        MeasurementRow.dataset_sha256, MeasurementRow.norm, MeasurementRow.epsilon,
        MeasurementRow.goal,
    )  # fmt: skip
    models = func.count(MeasurementRow.model_id.distinct())
    query = (
        _of_shown(*columns, func.max(MeasurementRow.dataset_name), models)
        .group_by(*columns)
        .order_by(models.desc(), func.max(MeasurementRow.at).desc())
    )
    with database.reading() as session:
        return [(Threat(*row[:4]), row[4], row[5]) for row in session.execute(query)]


def under(
    database: Database, threat: Threat, *, recipe: str | None, every: bool, limit: int
) -> tuple[list[Placed], int]:
    """What was measured under a threat model, the most robust first, and how many there are.

    What is invalid by its verdict comes last. Each model is there by its strongest evaluation, or
    by `every` one.
    """
    same = [getattr(MeasurementRow, name) == value for name, value in asdict(threat).items()]
    if recipe is not None:
        same.append(ModelRow.recipe == recipe)
    place = func.row_number().over(partition_by=MeasurementRow.model_id, order_by=_STRONGEST_FIRST)
    columns = MeasurementRow.job_id, MeasurementRow.position, place.label("place")
    found = _of_shown(*columns).where(*same).subquery()
    chosen = [
        MeasurementRow.job_id == found.c.job_id, MeasurementRow.position == found.c.position,
    ]  # fmt: skip
    if not every:
        chosen.append(found.c.place == 1)
    robust, clean = share(MeasurementRow.robust), share(MeasurementRow.clean)
    steps = ModelRow.card["params"]["steps"].as_integer()
    query = (
        select(MeasurementRow, ModelRow.name, ModelRow.recipe, steps, func.count().over())
        .join(ModelRow, ModelRow.id == MeasurementRow.model_id)
        .join(found, and_(*chosen))
        .order_by(INVALID, robust.is_(None), robust.desc(), clean.desc(), MeasurementRow.at.desc())
        .limit(limit)
    )
    with database.reading() as session:
        rows = session.execute(query).all()
    total = rows[0][4] if rows else 0
    return [Placed(*facts) for *facts, _ in rows], total


def strongest(
    database: Database, model_id: str, trained_for: tuple[str, float, str] | None
) -> str | None:
    """The job of a model's strongest evaluation; None where there is none on the list.

    Those under the norm, budget and goal of `trained_for` go before all others.
    """
    query = _of_shown(MeasurementRow.job_id).where(MeasurementRow.model_id == model_id)
    if trained_for is not None:
        columns = MeasurementRow.norm, MeasurementRow.epsilon, MeasurementRow.goal
        same = (column == value for column, value in zip(columns, trained_for, strict=True))
        query = query.order_by(and_(*same).desc())
    with database.reading() as session:
        job: str | None = session.scalar(query.order_by(*_STRONGEST_FIRST).limit(1))
    return job


def share(count: Any) -> ColumnElement[Any]:
    """Of the images, to sort by."""
    return cast(count, Float) / MeasurementRow.images


def _of_shown(*columns: Any) -> Select[Any]:
    """Of measurements whose evaluation and whose model are on their lists."""
    return (
        select(*columns)
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .join(ModelRow, ModelRow.id == MeasurementRow.model_id)
        .where(*_SHOWN)
    )
