"""Which files lie in storage: rows say their checksums and sizes, so that nobody has to ask it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

from sqlalchemy import delete, func, select

from app.store.db import Database, Turn
from app.store.tables import StoredRow

_ID = 32
"""Characters of an id, with which every name in a room begins."""


def row(name: str, sha256: str, size: int) -> StoredRow:
    """Of a file below the data folder that was just put."""
    return StoredRow(
        name=name,
        place=_place(name),
        thing=name.split("/")[1][:_ID],
        sha256=sha256,
        size_bytes=size,
        stored_at=time.time(),
    )


def _place(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _within(found: StoredRow, name: str) -> bool:
    return found.name == name or found.name.startswith(f"{name}/")


def under(database: Database, name: str) -> list[StoredRow]:
    """The file of this name, or all of the folder, by name."""
    of_place = select(StoredRow).where(StoredRow.place == _place(name)).order_by(StoredRow.name)
    with database.reading() as session:
        return [found for found in session.scalars(of_place) if _within(found, name)]


def replace(database: Database, name: str, rows: Collection[StoredRow]) -> list[StoredRow]:
    """From now on these are the file or the folder of this name; returns what was it before."""
    with database.writing(Turn.STORE) as session:
        of_place = select(StoredRow).where(StoredRow.place == _place(name))
        before = [found for found in session.scalars(of_place) if _within(found, name)]
        old = [each.name for each in before]
        session.expunge_all()
        session.execute(delete(StoredRow).where(StoredRow.name.in_(old)))
        session.add_all(rows)
    return before


def places_of(database: Database, id_: str) -> list[str]:
    """The files and folders of a job, a model, a dataset or an upload: `datasets/<id>`."""
    places = select(StoredRow.place).where(StoredRow.thing == id_).distinct()
    with database.reading() as session:
        return list(session.scalars(places))


def in_room(database: Database, room: str) -> set[str]:
    """The ids of what a folder of the data folder has."""
    of_room = StoredRow.place.startswith(f"{room}/", autoescape=True)
    with database.reading() as session:
        return set(session.scalars(select(StoredRow.thing).where(of_room).distinct()))


def old_places(database: Database, before: float) -> Iterator[str]:
    """Files and folders of which nothing was stored since then: `datasets/<id>`."""
    last = func.max(StoredRow.stored_at)
    places = select(StoredRow.place).group_by(StoredRow.place).having(last < before)
    with database.reading() as session:
        yield from session.scalars(places)


def sums(database: Database) -> dict[str, str]:
    """The checksum of every file, by its name."""
    with database.reading() as session:
        found = session.execute(select(StoredRow.name, StoredRow.sha256)).all()
    return {row.name: row.sha256 for row in found}


def sizes(database: Database) -> dict[str, int]:
    """Bytes by the id of what they belong to."""
    by_thing = select(StoredRow.thing, func.sum(StoredRow.size_bytes)).group_by(StoredRow.thing)
    with database.reading() as session:
        return {id_: int(size) for id_, size in session.execute(by_thing)}
