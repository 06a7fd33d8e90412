"""What each account uses of the lab, and how much it may: so that one leaves room for others."""

from __future__ import annotations

from functools import partial

from app.contracts.accounts import Share
from app.errors import OverQuota, TooMany
from app.services.lab import Lab
from app.store import acting, job_queries, marks

_MB = 2**20


def waiting(lab: Lab, user_id: str) -> Share:
    """Its jobs that are not over."""
    return share_of_jobs(lab, job_queries.unfinished_count(lab.database, user_id))


def share_of_jobs(lab: Lab, waiting: int) -> Share:
    """So many of an account's jobs, beside how many it may have."""
    return Share(used=waiting, most=lab.settings.user_waiting, setting="LAB_USER_WAITING")


def disk(lab: Lab, user_id: str, *, without: str = "") -> Share:
    """Bytes of what it sent and what its jobs left, those in the bin too; `without` leaves out an
    upload.

    What jobs left is measured, twice a minute at most; what was sent is known at once.
    """
    used = lab.files.used_by(user_id, partial(marks.owned_ids, lab.database, user_id))
    used += marks.sent_bytes(lab.database, user_id, without=without)
    most = lab.settings.user_disk_mb * _MB
    return Share(used=used, most=most, setting="LAB_USER_DISK_MB")


def check(lab: Lab, jobs: int) -> None:
    """Raises TooMany where whoever asks may have no more jobs wait, OverQuota where no more files
    lie."""
    user = _asking()
    if user is None:
        return
    now = waiting(lab, user)
    if now.used + jobs > now.most:
        raise too_many(now, jobs)
    check_disk(lab, 0)


def too_many(now: Share, jobs: int) -> TooMany:
    """What is said to who has so many jobs wait and asks for more."""
    return TooMany(
        f"{now.used:,} of your jobs are not over yet, and this would be {jobs:,} more; "
        f"everybody has at most {now.most:,} at a time.",
        hint=f"Cancel some or wait. Who runs the lab can raise {now.setting}.",
    )


def check_disk(lab: Lab, more: int, *, without: str = "") -> None:
    """Raises OverQuota where so many bytes are too many for whoever asks. `without`: the upload
    that they are, where it is kept already."""
    user = _asking()
    if user is None:
        return
    now = disk(lab, user, without=without)
    if now.used + more >= now.most:
        raise OverQuota(
            f"Your files take {now.used // _MB:,} MB"
            + (f", this one {-(-more // _MB):,} MB more" if more else "")
            + f"; everybody has {now.most // _MB:,} MB.",
            hint="Delete models, datasets and jobs that are not needed: the bin gives their room "
            f"back after a week. Who runs the lab can raise {now.setting}.",
        )


def _asking() -> str | None:
    act = acting.current()
    return None if act is None else act.user_id
