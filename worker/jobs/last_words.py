"""What the processes of a training leave in a folder for the one that started them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

JOB, STOP = "job.json", "stop"
"""What they find there: the claim to the job with the rows that it names, and, once there is this
file, that they must stop."""


class End(StrEnum):
    """How a process may end, if not well."""

    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LEASE_LOST = "lease lost"
    ROOM = "room"
    """The disk or the database is short of something."""
    CONTACT = "contact"
    """Another process is gone."""
    FAILED = "failed"


@dataclass(frozen=True)
class Word:
    """What a process leaves that ended otherwise than well."""

    end: End
    text: str = ""
    hint: str = ""
    parameter: str | None = None
    at: float = field(default_factory=time.monotonic)
    """By a clock that all processes of a machine share."""


def words(folder: Path) -> dict[int, Word]:
    """What the processes of a machine left, by rank."""
    found = {}
    for path in folder.glob("*.word"):
        values = json.loads(path.read_text())
        found[int(path.stem)] = Word(**{**values, "end": End(values["end"])})
    return found


def leave(folder: Path, rank: int, word: Word) -> None:
    path = folder / f"{rank}.word"
    path.with_suffix(".part").write_text(json.dumps(asdict(word)))
    path.with_suffix(".part").rename(path)
