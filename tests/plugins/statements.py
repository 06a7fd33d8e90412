"""What is said to the database, by whoever says it in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements within the block, as they come; `BEGIN IMMEDIATE` takes SQLite's lock."""
    said: list[str] = []

    def note(*told: object) -> None:
        said.append(str(told[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)
