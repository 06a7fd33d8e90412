"""Whether the lab has room for more jobs: in its queues, on its disk, and for whoever asks."""

from __future__ import annotations

from app.errors import TooMany, Unavailable
from app.services import usage
from app.services.lab import Lab
from app.store import job_queries
from app.store.jobs import NoRoom, Room


def check(lab: Lab, jobs: int) -> None:
    """Raises TooMany where so many further jobs would wait, Unavailable where the disk is full,
    and what `usage.check` raises."""
    waiting = job_queries.unfinished_count(lab.database)
    if waiting + jobs > lab.settings.max_waiting:
        raise _too_many(lab, waiting)
    if (said := nearly_full(lab)) is not None:
        raise Unavailable(
            said, hint="Make room there, delete what is not needed, or lower LAB_MIN_FREE_MB."
        )
    usage.check(lab, jobs)


def of(lab: Lab) -> Room:
    """What is counted once more where a job's rows are written."""
    return Room(lab.settings.max_waiting, lab.settings.user_waiting)


def refusal(lab: Lab, full: NoRoom, jobs: int) -> TooMany:
    """What is said of what was counted there."""
    if not full.of_owner:
        return _too_many(lab, full.waiting)
    return usage.too_many(usage.share_of_jobs(lab, full.waiting), jobs)


def _too_many(lab: Lab, waiting: int) -> TooMany:
    """What is said where so many jobs are not over."""
    return TooMany(
        f"{waiting:,} jobs are not over yet; the lab takes at most {lab.settings.max_waiting:,} at "
        "a time.",
        hint="Cancel some or wait, or raise LAB_MAX_WAITING.",
    )


def nearly_full(lab: Lab) -> str | None:
    """That the disk has too little left for a job, in words; None where it has enough."""
    free = lab.files.free()
    if free >= lab.settings.min_free_mb * 2**20:
        return None
    return (
        f"The disk of the data folder is nearly full: {free // 2**20:,} MB are free, and jobs "
        f"start with {lab.settings.min_free_mb:,} MB or more."
    )
