"""Pages of jobs and models as a person sorts and filters them, in few queries each."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, case, func, select

from app.contracts.listings import JobFilter, JobOrder, ModelFilter, ModelOrder, Shelf
from app.store.catalogue import is_best
from app.store.db import Database
from app.store.marks import on_shelf, owned_by, tagged
from app.store.paging import page_of
from app.store.tables import DatasetRow, JobRow, MeasurementRow, ModelRow

MOST_CHOICES = 200
"""Datasets that a list can be narrowed to by a choice."""

_JOB_KEYS: dict[JobOrder, ColumnElement[Any]] = {
    JobOrder.NAME: func.lower(case((JobRow.name != "", JobRow.name), else_=JobRow.title)),
    JobOrder.KIND: JobRow.kind.expression,
    JobOrder.STATE: JobRow.status.expression,
    JobOrder.DATASET: select(func.lower(DatasetRow.name))
    .where(DatasetRow.id == JobRow.dataset_id)
    .correlate(JobRow)
    .scalar_subquery(),
    JobOrder.RECIPE: JobRow.recipe.expression,
    JobOrder.EPOCHS: JobRow.epochs.expression,
    JobOrder.CLEAN: JobRow.clean.expression,
    JobOrder.ROBUST: JobRow.robust.expression,
    JobOrder.AUTOATTACK: JobRow.autoattack.expression,
    JobOrder.TIME: JobRow.finished_at - JobRow.started_at,
    JobOrder.CREATED: JobRow.created_at.expression,
}


_MODEL_KEYS: dict[ModelOrder, ColumnElement[Any]] = {
    ModelOrder.NAME: func.lower(ModelRow.name),
    ModelOrder.RECIPE: ModelRow.recipe.expression,
    ModelOrder.DATASET: func.lower(ModelRow.dataset_name),
    ModelOrder.EPOCHS: ModelRow.epochs.expression,
    ModelOrder.HELD_CLEAN: ModelRow.clean.expression,
    ModelOrder.HELD_ROBUST: ModelRow.robust.expression,
    ModelOrder.CLEAN: ModelRow.measured_clean.expression,
    ModelOrder.ROBUST: ModelRow.measured_robust.expression,
    ModelOrder.AUTOATTACK: ModelRow.measured_autoattack.expression,
    ModelOrder.TIME: ModelRow.seconds.expression,
    ModelOrder.CREATED: ModelRow.created_at.expression,
}


def jobs(
    database: Database, asked: JobFilter, *, offset: int, limit: int
) -> tuple[list[JobRow], int]:
    """A page of the jobs asked for, and how many there are in all; parts of ablations are left
    out.
    """
    conditions = [JobRow.parent_id.is_(None), *on_shelf(JobRow, asked.shelf)]
    if asked.text:
        conditions.append(_says(asked.text, JobRow))
    if asked.tag:
        conditions.append(tagged(JobRow, asked.tag))
    conditions += owned_by(JobRow, asked.owner)
    equal = {JobRow.kind: asked.kind, JobRow.status: asked.status, JobRow.recipe: asked.recipe}
    conditions += [column == value for column, value in equal.items() if value is not None]
    if asked.dataset:
        conditions.append(JobRow.dataset_id == asked.dataset)
    key = _JOB_KEYS[asked.order]
    order = _in_order(JobRow, key, unique=asked.order is JobOrder.CREATED, falling=asked.falling)
    query = select(JobRow).where(*conditions)
    at_once = bool(asked.text)
    return page_of(database, JobRow, query, order, offset=offset, limit=limit, at_once=at_once)


def models(
    database: Database, asked: ModelFilter, *, offset: int, limit: int
) -> tuple[list[ModelRow], int]:
    """A page of the models asked for, and how many there are in all."""
    conditions = [*on_shelf(ModelRow, asked.shelf)]
    if asked.text:
        conditions.append(_says(asked.text, ModelRow))
    if asked.tag:
        conditions.append(tagged(ModelRow, asked.tag))
    conditions += owned_by(ModelRow, asked.owner)
    if asked.dataset:
        conditions.append(ModelRow.dataset_sha256 == asked.dataset)
    if asked.recipe is not None:
        conditions.append(ModelRow.recipe == asked.recipe)
    key = _MODEL_KEYS[asked.order]
    order = _in_order(
        ModelRow, key, unique=asked.order is ModelOrder.CREATED, falling=asked.falling
    )
    query = select(ModelRow).where(*conditions)
    at_once = bool(asked.text)
    return page_of(database, ModelRow, query, order, offset=offset, limit=limit, at_once=at_once)


def _says(text: str, table: type[JobRow] | type[ModelRow]) -> ColumnElement[bool]:
    """Whether a row's texts have this one, in any case, or its id begins with it."""
    plain = func.lower(re.sub("([/%_])", r"/\1", text))
    begins = table.id.startswith(text.lower(), autoescape=True)
    return table.searched.contains(plain, escape="/") | begins


def _in_order(
    table: type[JobRow] | type[ModelRow], key: ColumnElement[Any], *, unique: bool, falling: bool
) -> tuple[UnaryExpression[Any] | ColumnElement[Any], ...]:
    """Equal ones the newest first; what has no value last, however the others are sorted."""
    first = key.desc() if falling else key.asc()
    if unique:
        return first, table.id.desc() if falling else table.id.asc()
    return key.is_(None), first, table.created_at.desc(), table.id.desc()


def datasets_of_models(database: Database) -> list[tuple[str, str]]:
    """Checksum and name of everything that a model on the list was trained on, by name."""
    query = (
        select(ModelRow.dataset_sha256, func.min(ModelRow.dataset_name))
        .where(*on_shelf(ModelRow, Shelf.LIST), ModelRow.dataset_sha256.is_not(None))
        .group_by(ModelRow.dataset_sha256)
        .order_by(func.min(ModelRow.dataset_name))
        .limit(MOST_CHOICES)
    )
    with database.reading() as session:
        return [(sha256, name or "") for sha256, name in session.execute(query) if sha256]


def newest_datasets(database: Database) -> list[tuple[str, str]]:
    """Id and name of the newest datasets, by name."""
    query = (
        select(DatasetRow.id, DatasetRow.name)
        .where(*on_shelf(DatasetRow, Shelf.LIST))
        .order_by(DatasetRow.created_at.desc())
        .limit(MOST_CHOICES)
    )
    with database.reading() as session:
        found = [(id_, name) for id_, name in session.execute(query)]
    return sorted(found, key=lambda pair: pair[1].lower())


def measured_in(database: Database, job_ids: Collection[str]) -> list[MeasurementRow]:
    """What these evaluations measured, in the order of their models."""
    query = select(MeasurementRow).where(MeasurementRow.job_id.in_(job_ids))
    with database.reading() as session:
        return list(session.scalars(query.order_by(MeasurementRow.position)))


def latest_of(database: Database, model_ids: Collection[str]) -> dict[str, MeasurementRow]:
    """Each model's latest evaluation that is not in the bin, in one query."""
    age = func.row_number().over(
        partition_by=MeasurementRow.model_id, order_by=MeasurementRow.at.desc()
    )
    ranked = (
        select(MeasurementRow.job_id, MeasurementRow.position, age.label("age"))
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .where(MeasurementRow.model_id.in_(model_ids), JobRow.deleted_at.is_(None))
        .subquery()
    )
    newest = (
        (MeasurementRow.job_id == ranked.c.job_id)
        & (MeasurementRow.position == ranked.c.position)
        & (ranked.c.age == 1)
    )
    with database.reading() as session:
        rows = session.scalars(select(MeasurementRow).join(ranked, newest)).all()
    return {row.model_id: row for row in rows}


def best_models_of(database: Database, job_ids: Collection[str]) -> dict[str, ModelRow]:
    """The best models of these trainings, by training; those in the bin count, as in the figures
    by which jobs are sorted.
    """
    left = (ModelRow.job_id.in_(job_ids), is_best)
    with database.reading() as session:
        rows = session.scalars(select(ModelRow).where(*left)).all()
    return {row.job_id: row for row in rows if row.job_id is not None}
