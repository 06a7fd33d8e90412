"""Jobs as their user keeps them: named, tagged, pinned, archived, deleted with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from app.contracts.changes import Changes, JobChanges
from app.contracts.jobs import JobStatus
from app.contracts.views import JobView
from app.errors import Conflict, NotFound
from app.services import changing, jobs, ownership, placing
from app.services.lab import Lab
from app.store import catalogue, job_queries, marks
from app.store.tables import JobRow


def change(
    lab: Lab,
    job_ids: Sequence[str],
    changes: Changes,
    *,
    more_tags: Sequence[str] = (),
    fewer_tags: Sequence[str] = (),
) -> list[JobView]:
    """Change these jobs alike; of the tags that each has, some become more or fewer.

    Raises NotFound, and what `changing.change`, `placing.to_rank` and `placing.rank` raise.
    """
    views = jobs.several(lab, job_ids)
    priority = changes.priority if isinstance(changes, JobChanges) else None
    ranked = []
    if priority is not None:
        ownership.check(lab, JobRow, job_ids)
        ranked = placing.to_rank(views, priority)
    changing.change(lab, JobRow, job_ids, changes, more_tags=more_tags, fewer_tags=fewer_tags)
    if priority is not None:
        placing.rank(lab, ranked, priority)
    return jobs.several(lab, job_ids)


def archive(lab: Lab, *job_ids: str) -> float:
    """Move jobs into the archive; returns the time by which `undo` knows them. Raises NotFound."""
    jobs.several(lab, job_ids)
    return changing.archive(lab, JobRow, job_ids)


def delete(lab: Lab, *job_ids: str) -> float:
    """Move jobs into the bin, an ablation with all of its jobs; all or none of them.

    Returns the time by which `undo` knows them. Raises NotFound; Conflict where a job is not
    over, is a part of another, or something that is still there came from it.
    """
    views = jobs.several(lab, job_ids)
    ownership.check(lab, JobRow, job_ids)
    for view in views:
        _check_over(view)
        _check_whole(lab, view, job_ids)
    family = [*job_ids, *job_queries.children_of(lab.database, job_ids)]
    _check_unneeded(lab, family)
    when = marks.put_in_bin(lab.database, JobRow, family)
    try:
        _check_unneeded(lab, family)  # what came from here may have come back meanwhile
    except Conflict:
        marks.take_out_of_bin(lab.database, JobRow, family)
        raise
    return when


def _check_over(job: JobView) -> None:
    if not job.status.is_final:
        raise Conflict(f"“{job.title}” is {job.status}.", hint="Cancel it first.")


def _check_whole(lab: Lab, job: JobView, chosen: Sequence[str]) -> None:
    if job.parent is None or job.parent in chosen:
        return
    parent = jobs.get(lab, job.parent)
    raise Conflict(
        f"“{job.title}” is a part of “{parent.title}”, whose table needs it.",
        hint="Delete the ablation: its jobs go with it.",
    )


def _check_unneeded(lab: Lab, job_ids: Sequence[str]) -> None:
    left = catalogue.left_by(lab.database, job_ids)
    if left is not None:
        what = "dataset" if left.__tablename__ == "datasets" else "model"
        raise Conflict(
            f"The {what} “{left.name}” came from here; its page tells by this job how.",
            hint=f"Archive the job, or delete the {what} first.",
        )
    later = job_queries.going_on_from(lab.database, job_ids)
    if later is not None:
        raise Conflict(
            f"“{later.title}” goes on from its checkpoint.", hint="Wait for its end, or cancel it."
        )


def restore(lab: Lab, *job_ids: str) -> list[JobView]:
    """Take jobs out of the bin, an ablation with its jobs; all or none of them.

    Raises NotFound, Conflict.
    """
    rows = job_queries.deleted(lab.database, job_ids)
    if rows.keys() < set(job_ids):
        raise NotFound("There is no such job in the bin.", hint="See the list of jobs.")
    for row in rows.values():
        if row.parent_id is not None:
            raise Conflict(
                f"“{row.title}” is a part of an ablation.",
                hint="Restore the ablation: its jobs come along.",
            )
    ownership.check(lab, JobRow, job_ids)
    children = job_queries.children_of(lab.database, job_ids)
    marks.take_out_of_bin(lab.database, JobRow, [*job_ids, *children])
    return jobs.several(lab, job_ids)


def cancel_all(lab: Lab, job_ids: Sequence[str]) -> None:
    """End those of the jobs that are not over. Raises NotFound; Conflict where all are."""
    unfinished = [view for view in jobs.several(lab, job_ids) if not view.status.is_final]
    if not unfinished:
        raise Conflict("These jobs are over.", hint="Only unfinished jobs end early.")
    ownership.check(lab, JobRow, [view.id for view in unfinished])
    for view in unfinished:
        with suppress(Conflict):  # it ended just now
            jobs.cancel(lab, view.id)


def undo(lab: Lab, when: float) -> int:
    """Take back what one call of `delete` or `archive` did; returns to how many jobs."""
    return changing.undo(lab, JobRow, when)


def pinned(lab: Lab) -> list[JobView]:
    """Succeeded jobs that their user pinned, the latest pinned first."""
    rows = job_queries.pinned(lab.database, JobStatus.SUCCEEDED)
    return jobs.several(lab, rows)
