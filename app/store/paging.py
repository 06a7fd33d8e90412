"""A page of long rows: ids are sorted first, in an index where there is one, then rows fetched."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.store.db import Database
from app.store.tables import DatasetRow, JobRow, ModelRow

Row = TypeVar("Row", JobRow, ModelRow, DatasetRow)


def page_of(
    database: Database,
    table: type[Row],
    query: Select[Any],
    order: tuple[Any, ...],
    *,
    offset: int,
    limit: int,
) -> tuple[list[Row], int]:
    """The rows of `table` that `query` finds, in order, and how many there are in all.

    Sorting whole rows would carry their parameters and cards along, which are long.
    """
    with database.reading() as session:
        total = (
            session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True)) or 0
        )
        ids = query.with_only_columns(table.id).order_by(*order).offset(offset).limit(limit)
        return rows_of(session, table, ids), total


def rows_of(session: Session, table: type[Row], ids: Select[str]) -> list[Row]:
    """The rows with the ids that a query finds, in its order."""
    shown = list(session.scalars(ids))
    found = session.scalars(select(table).where(table.id.in_(shown))) if shown else ()
    rows = {row.id: row for row in found}
    return [rows[id_] for id_ in shown if id_ in rows]
