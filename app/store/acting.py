"""On whose behalf something is changed, and the record of it.

A request that changes something acts for somebody. The first transaction that writes on its behalf
writes the record as well, so that nothing is changed without one; the answer's status follows.
What acts for nobody (workers, the reconciler, commands of who runs the lab) leaves none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.store.tables import AuditRow

_MOST_TARGETS = 500


@dataclass
class Act:
    """One request that may change something."""

    who: str
    """As `AuditRow.who`."""
    address: str
    what: str
    user_id: str | None = None
    """The account that what it makes belongs to."""
    owns_all: bool = True
    """Whether it may change what belongs to others."""
    targets: list[str] = field(default_factory=list)
    row: int | None = None
    """The id of its record, where it has one."""

    def record(self, status: int | None) -> AuditRow:
        return AuditRow(
            at=time.time(),
            who=self.who[:80],
            address=self.address[:80],
            what=self.what[:200],
            targets=" ".join(dict.fromkeys(self.targets[:_MOST_TARGETS])),
            status=status,
        )


_current: ContextVar[Act | None] = ContextVar("act", default=None)


@contextmanager
def acting(act: Act) -> Iterator[Act]:
    """What is written inside is written on its behalf."""
    token = _current.set(act)
    try:
        yield act
    finally:
        _current.reset(token)


def current() -> Act | None:
    """On whose behalf this runs; None where that is nobody's."""
    return _current.get()


def concerns(*ids: str) -> None:
    """What is changed, for the record."""
    if (act := _current.get()) is not None:
        act.targets += ids


def note(session: Session) -> int | None:
    """Write the record, once, in the transaction of a session; returns its id, for `keep`."""
    act = _current.get()
    if act is None or act.row is not None:
        return None
    row = act.record(None)
    session.add(row)
    session.flush()
    return row.id


def keep(record: int | None) -> None:
    """The transaction is committed, and the record with it: before, its id may go to another."""
    if record is not None and (act := _current.get()) is not None:
        act.row = record
