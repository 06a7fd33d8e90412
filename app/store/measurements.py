"""Evaluations in figures that can be sorted and filtered: one row a model, written with its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    ScalarSelect,
    Subquery,
    and_,
    case,
    cast,
    exists,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from app.contracts.attacks import Goal
from app.contracts.results import EvaluationSummary, Light, ModelSummary, after_autoattack
from app.store.db import Database
from app.store.tables import JobRow, MeasurementRow, ModelRow
from app.store.transitions import hold


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


def note_latest(session: Session, *conditions: ColumnElement[bool]) -> None:
    """Bring up to date what models are sorted by and how they stand, after evaluations came, or
    went to the bin.

    `conditions`: which measurements these made.
    """
    models = select(MeasurementRow.model_id).where(*conditions)
    hold(session, ModelRow, ModelRow.id.in_(models))
    names = ("clean", "robust", "autoattack")
    latest = {f"measured_{name}": _latest(name) for name in names}
    statement = update(ModelRow).where(ModelRow.id.in_(models)).values(**latest)
    session.execute(statement.execution_options(synchronize_session=False))
    note_standing(session, *conditions)


def _latest(name: str) -> ScalarSelect[Any]:
    """A share of a model's latest evaluation that is not in the bin; none where it is invalid."""
    valid = case((INVALID, None), else_=getattr(MeasurementRow, name))
    latest = (
        select(share(valid if name != "clean" else MeasurementRow.clean))
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .where(MeasurementRow.model_id == ModelRow.id, JobRow.deleted_at.is_(None))
        .order_by(MeasurementRow.at.desc())
        .limit(1)
    )
    return latest.correlate(ModelRow).scalar_subquery()


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


class Standing(IntEnum):
    """How a measurement stands on the board: kept in its row, since a board of all models would
    compare all measurements at every look."""

    OFF = 0
    """Its evaluation or its model is archived or in the bin, or it is of images towards one class:
    those leave its images out, and each towards another, so none compares."""
    SHOWN = 1
    STRONGEST = 2
    """Of those shown of its model under its threat model."""


_THREAT = (
    MeasurementRow.dataset_sha256, MeasurementRow.norm, MeasurementRow.epsilon, MeasurementRow.goal,
)  # fmt: skip
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


def note_standing(session: Session, *conditions: ColumnElement[bool]) -> None:
    """Bring up to date how measurements stand, after evaluations or models came, or went from
    their lists.

    `conditions`: which measurements, whose models' others stand beside them.
    """
    models = select(MeasurementRow.model_id).where(*conditions)
    hold(session, ModelRow, ModelRow.id.in_(models))
    shown = and_(
        MeasurementRow.goal != Goal.CLASS,
        _is_listed(JobRow, MeasurementRow.job_id),
        _is_listed(ModelRow, MeasurementRow.model_id),
    )
    theirs = MeasurementRow.model_id.in_(models)
    place = func.row_number().over(
        partition_by=(MeasurementRow.model_id, *_THREAT), order_by=_STRONGEST_FIRST
    )
    placed = (
        select(MeasurementRow.job_id, MeasurementRow.position, place.label("place"))
        .where(theirs, MeasurementRow.standing != Standing.OFF)
        .subquery()
    )
    strongest = tuple_(MeasurementRow.job_id, MeasurementRow.position).in_(
        select(placed.c.job_id, placed.c.position).where(placed.c.place == 1)
    )
    for of, standing in (
        (theirs, case((shown, Standing.SHOWN), else_=Standing.OFF)),
        (strongest, Standing.STRONGEST),
    ):
        statement = update(MeasurementRow).where(of).values(standing=standing)
        session.execute(statement.execution_options(synchronize_session=False))


def _is_listed(table: type[JobRow] | type[ModelRow], id_: Any) -> ColumnElement[bool]:
    listed = table.id == id_, table.deleted_at.is_(None), table.archived_at.is_(None)
    return exists().where(*listed)


def threats(database: Database) -> list[tuple[Threat, str, int]]:
    """Every threat model under which something was measured, with the dataset's name and the
    number of models; those of most models first.
    """
    models = func.count()
    query = (
        select(*_THREAT, func.max(MeasurementRow.dataset_name), models)
        .where(MeasurementRow.standing == Standing.STRONGEST)
        .group_by(*_THREAT)
        .order_by(models.desc(), func.max(MeasurementRow.at).desc())
    )
    with database.reading() as session:
        return [(Threat(*row[:4]), row[4], row[5]) for row in session.execute(query)]


def under(
    database: Database, threat: Threat, *, recipe: str | None, every: bool, limit: int
) -> list[Placed]:
    """What was measured under a threat model, the most robust first.

    What is invalid by its verdict comes last. Each model is there by its strongest evaluation, or
    by `every` one.
    """
    robust, clean = share(MeasurementRow.robust), share(MeasurementRow.clean)
    found = (
        select(
            MeasurementRow.job_id, MeasurementRow.position, INVALID.label("invalid"),
            robust.label("robust"), clean.label("clean"), MeasurementRow.at,
        )
        .where(*_under(threat, recipe, every))
        .subquery()
    )  # fmt: skip
    shown = select(found).order_by(*_best_first(found)).limit(limit).subquery()
    # Cards are read of those alone that are shown.
    query = (
        select(
            MeasurementRow, ModelRow.name, ModelRow.recipe,
            ModelRow.card["params"]["steps"].as_integer(),
        )
        .join(shown, and_(
            MeasurementRow.job_id == shown.c.job_id, MeasurementRow.position == shown.c.position,
        ))
        .join(ModelRow, ModelRow.id == MeasurementRow.model_id)
        .order_by(*_best_first(shown))
    )  # fmt: skip
    with database.reading() as session:
        return [Placed(*facts) for facts in session.execute(query)]


def count_under(database: Database, threat: Threat, *, recipe: str | None, every: bool) -> int:
    """How many there are in all."""
    query = select(func.count()).where(*_under(threat, recipe, every))
    with database.reading() as session:
        return session.scalar(query) or 0


def _under(threat: Threat, recipe: str | None, every: bool) -> list[ColumnElement[bool]]:
    standings = (Standing.SHOWN, Standing.STRONGEST) if every else (Standing.STRONGEST,)
    same = [getattr(MeasurementRow, name) == value for name, value in asdict(threat).items()]
    same.append(MeasurementRow.standing.in_(standings))
    if recipe is not None:
        own = ModelRow.id == MeasurementRow.model_id, ModelRow.recipe == recipe
        same.append(exists().where(*own))
    return same


def _best_first(found: Subquery) -> tuple[ColumnElement[Any], ...]:
    of = found.c
    return of.invalid, of.robust.is_(None), of.robust.desc(), of.clean.desc(), of.at.desc()


def strongest(
    database: Database, model_id: str, trained_for: tuple[str, float, str] | None
) -> str | None:
    """The job of a model's strongest evaluation; None where there is none on the list.

    Those under the norm, budget and goal of `trained_for` go before all others.
    """
    query = select(MeasurementRow.job_id).where(
        MeasurementRow.model_id == model_id, MeasurementRow.standing != Standing.OFF
    )
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
