"""What is said to the database, by whoever says it in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements within the block, as they come; `BEGIN IMMEDIATE` takes SQLite's lock. Not
    those of the chores that go on beside the answers (`app.duties`), which come whenever they do.
    """
    said: list[str] = []

    def note(*told: object) -> None:
        if not threading.current_thread().name.startswith("asyncio_"):
            said.append(str(told[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)
