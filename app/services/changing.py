"""Between what a person changes about a job, a model or a dataset and the columns of its row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.contracts.changes import MAX_TAGS, Changes, JobChanges
from app.errors import Conflict, InvalidInput
from app.services import ownership
from app.services.lab import Lab
from app.store import marks


def _columns(changes: Changes) -> dict[str, Any]:
    """The values of the columns that change; tags have a table of their own."""
    now, values = time.time(), changes.model_dump(include={"name", "note"}, exclude_none=True)
    if changes.archived is not None:
        values["archived_at"] = now if changes.archived else None
    if isinstance(changes, JobChanges) and changes.pinned is not None:
        values["pinned_at"] = now if changes.pinned else None
    return values


def archive(lab: Lab, table: marks.Marked, ids: Sequence[str]) -> float:
    """Move rows into the archive, all at the same time, by which `undo` knows them.

    Raises Forbidden.
    """
    ownership.check(lab, table, ids)
    now = time.time()
    marks.change(lab.database, table, ids, {"archived_at": now})
    return now


def undo(lab: Lab, table: marks.Marked, when: float) -> int:
    """Bring back what was moved into the bin or the archive at that very time; returns how many.

    Raises Forbidden.
    """
    binned, archived = marks.moved_at(lab.database, table, when)
    ownership.check(lab, table, [*binned, *archived])
    marks.take_out_of_bin(lab.database, table, binned)
    marks.change(lab.database, table, archived, {"archived_at": None})
    return len(binned) + len(archived)


def utc_or_none(seconds: float | None) -> datetime | None:
    """A column's time as views have it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def change(
    lab: Lab,
    table: marks.Marked,
    ids: Sequence[str],
    changes: Changes,
    *,
    more_tags: Sequence[str] = (),
    fewer_tags: Sequence[str] = (),
) -> None:
    """Change these rows alike; of the tags that each has, some become more or fewer.

    Raises Forbidden where one is somebody else's; InvalidInput where these are too many tags;
    Conflict where another change came first.
    """
    ownership.check(lab, table, ids)
    more, fewer = more_tags, fewer_tags
    values, tags = _columns(changes), changes.tags
    try:
        marks.change(lab.database, table, ids, values, tags=tags, more_tags=more, fewer_tags=fewer)
    except marks.TooManyTags:
        raise InvalidInput(
            f"No more than {MAX_TAGS} tags fit on one thing.", hint="Take some away first."
        ) from None
    except marks.TakenMeanwhile:
        raise Conflict(
            "Another change came first, and took the same name.", hint="Look at it, and try again."
        ) from None
