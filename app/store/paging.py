"""A page of long rows: ids are sorted first, in an index where there is one, then rows fetched."""

from __future__ import annotations

from collections.abc import Sequence
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
    at_once: bool = False,
) -> tuple[list[Row], int]:
    """The rows of `table` that `query` finds, in order, and how many there are in all.

    Sorting whole rows would carry their parameters and cards along, which are long.

    Args:
        at_once: every row has to be read to know which are found, as for a search in texts: they
            are counted where they are sorted. Otherwise an index may give a page without the rest.
    """
    ids = query.with_only_columns(table.id).order_by(*order).offset(offset).limit(limit)
    with database.reading() as session:
        if at_once:
            found = session.execute(ids.add_columns(func.count().over())).all()
            if found or offset == 0:
                total = found[0][1] if found else 0
                return _whole(session, table, [id_ for id_, _ in found]), total
        counted = query.with_only_columns(func.count(), maintain_column_froms=True)
        total = session.scalar(counted) or 0
        return rows_of(session, table, ids), total


def rows_of(session: Session, table: type[Row], ids: Select[str]) -> list[Row]:
    """The rows with the ids that a query finds, in its order."""
    return _whole(session, table, session.scalars(ids).all())


def _whole(session: Session, table: type[Row], ids: Sequence[str]) -> list[Row]:
    found = session.scalars(select(table).where(table.id.in_(ids))) if ids else ()
    rows = {row.id: row for row in found}
    return [rows[id_] for id_ in ids if id_ in rows]
