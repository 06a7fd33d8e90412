"""Why jobs wait, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from app.contracts.jobs import JobStatus, Queue
from app.contracts.placement import able, lacking
from app.contracts.words import counted
from app.queue import Present
from app.services import room
from app.services.lab import Lab
from app.store import job_queries, placement
from app.store.tables import JobRow


def reasons(lab: Lab, rows: Sequence[JobRow]) -> dict[str, str]:
    """By id of those that are queued; asks the broker only when a job waits."""
    queued = [row for row in rows if row.status == JobStatus.QUEUED]
    if not queued:
        return {}
    if (full := room.nearly_full(lab)) is not None:
        return {row.id: full for row in queued}
    present = lab.broker.present()
    if present is None:
        away = "The broker does not answer; the job is kept and sent later."
        return {row.id: away for row in queued}
    drained = placement.drains(lab.database).keys()
    running = job_queries.counts(lab.database)
    before = placement.before(lab.database, [row.id for row in queued])
    found = {}
    for row in queued:
        queue = Queue(row.queue)
        serving = [worker for worker in present if queue in worker.queues]
        found[row.id] = _unserved(row, serving, drained) or _turn(
            row, running.get((queue, JobStatus.RUNNING), 0), before.get(row.id, 0)
        )
    return found


def _unserved(row: JobRow, workers: Sequence[Present], drained: Collection[str]) -> str:
    """Why no worker of the queue will take it; empty where one will."""
    queue = row.queue
    heard = [worker for worker in workers if not worker.silent]
    if not heard and workers:
        return f"The worker of the queue “{queue}” hangs. It is ended, and another one takes over."
    if not heard:
        return f"No worker serves the queue “{queue}”; start one, or restart the lab."
    needs = placement.needs_of(row)
    # One that says nothing of itself is of another version, and may take what it knows.
    fit = [each for each in heard if each.offer is None or able(needs, [each.offer])]
    if not fit:
        return lacking(needs, [each.offer for each in heard if each.offer is not None])
    if any(each.name not in drained for each in fit):
        return ""
    whose = f"the queue “{queue}”" if len(fit) == len(heard) else "those that could run it"
    if len(fit) == 1:
        return f"The worker “{fit[0].name}” is drained, and no other of {whose} is there."
    return f"All {len(fit)} workers of {whose} are drained: they take no new job."


def _turn(row: JobRow, running: int, before: int) -> str:
    """What comes before it."""
    if row.parent_id is not None:
        whose = " of the same ablation"
    else:
        whose = "" if row.owner_id is None else " of the same owner"
    first = f"{counted(before, 'job')}{whose} {'comes' if before == 1 else 'come'} before it"
    if not running:
        return f"{first}." if before else "A worker is about to take it."
    runs = "a job runs" if running == 1 else f"{running:,} jobs run"
    rest = f", and {first}" if before else " before it"
    return f"The queue “{row.queue}” is busy: {runs}{rest}."
