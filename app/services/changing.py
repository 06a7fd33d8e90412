"""Between what a person changes about a job, a model or a dataset and the columns of its row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.contracts.changes import MAX_TAGS, Changes, JobChanges
from app.errors import InvalidInput
from app.services.lab import Lab
from app.store import marks


def columns(changes: Changes) -> dict[str, Any]:
    """The values of the columns that change; tags have a table of their own."""
    now, values = time.time(), changes.model_dump(include={"name", "note"}, exclude_none=True)
    if changes.archived is not None:
        values["archived_at"] = now if changes.archived else None
    if isinstance(changes, JobChanges) and changes.pinned is not None:
        values["pinned_at"] = now if changes.pinned else None
    return values


def utc_or_none(seconds: float | None) -> datetime | None:
    """A column's time as views have it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def check_tags(lab: Lab, table: marks.Marked, ids: Sequence[str], more: Sequence[str]) -> None:
    """Raises InvalidInput where more tags would make more than a thing may have."""
    held = marks.tags_of(lab.database, table, ids) if more else {}
    if any(len({*tags, *more}) > MAX_TAGS for tags in held.values()):
        raise InvalidInput(
            f"No more than {MAX_TAGS} tags fit on one thing.", hint="Take some away first."
        )
