"""What keeps the lab in order: lost jobs, forgotten files, and whether everything answers."""

from __future__ import annotations

import time

from app import errors
from app.ablations import lifecycle
from app.contracts.access import Held
from app.contracts.jobs import JobStatus, Queue
from app.contracts.views import Health, QueueHealth
from app.services import announcing, room
from app.services.jobs import CHART_POINTS
from app.services.lab import Lab
from app.settings import VERSION
from app.store import catalogue, job_queries, jobs, marks, thinning
from app.store.tables import DatasetRow, JobRow
from confinement import gaps

_RESEND_AFTER_S = 30.0
_UPLOAD_KEPT_S = 3600.0
_THINNED_AT_ONCE = 100
_KEPT_S = 7 * 24 * 3600.0
"""For how long what is in the bin and the checkpoints of ended jobs can still be wanted."""


def reconcile(lab: Lab) -> None:
    """Give lost jobs back to the queue, and tell the broker again about what nobody took."""
    changed = lab.leases.release(lab.database)
    changed += lifecycle.advance_all(lab.database, lab.files)
    for job_id in changed:
        lab.broker.ring(job_id)
    _resend(lab)


def clear(lab: Lab) -> None:
    """Drop what nobody can want any more: what was long in the bin, and what jobs were to need."""
    active = [row.params for row in job_queries.unfinished(lab.database)]
    needed = [params.get("upload") or "" for params in active]
    for upload_id in catalogue.drop_uploads(lab.database, older_than_s=_UPLOAD_KEPT_S, keep=needed):
        lab.files.drop(lab.files.upload(upload_id))
    for model_id in catalogue.drop_binned_models(lab.database, older_than_s=_KEPT_S):
        for held in Held:
            lab.files.drop(lab.files.weights(model_id, held))
    for dataset_id in marks.empty_bin(lab.database, DatasetRow, older_than_s=_KEPT_S):
        lab.files.drop(lab.files.dataset(dataset_id))
    for job_id in marks.empty_bin(lab.database, JobRow, older_than_s=_KEPT_S):
        for path in (*lab.files.left_by(job_id), lab.files.checkpoints(job_id)):
            lab.files.drop(path)
    left = lab.files.with_checkpoints() - {params.get("continue_from") for params in active}
    for job_id in job_queries.long_over(lab.database, left, older_than_s=_KEPT_S):
        lab.files.drop(lab.files.checkpoints(job_id))


def sweep(lab: Lab) -> None:
    """Remove files that no row names: a worker that lost its job, or a web process that was killed
    between a file and its row, left them.
    """
    # The files first: one whose row is written meanwhile is young.
    for path in list(lab.files.unnamed(catalogue.named_files(lab.database))):
        lab.files.drop(path)
    lab.files.tidy()


def thin(lab: Lab) -> None:
    """Thin what jobs reported that ended long ago."""
    older_than_s = lab.settings.thin_after_d * 24 * 3600.0
    while older_than_s and (
        found := thinning.due(lab.database, older_than_s=older_than_s, limit=_THINNED_AT_ONCE)
    ):
        for job_id in found:
            thinning.thin(lab.database, job_id, points=CHART_POINTS)


def _resend(lab: Lab) -> None:
    full: set[Queue] = set()
    for job_id, queue in job_queries.unsent(lab.database, older_than_s=_RESEND_AFTER_S):
        if queue in full:
            continue
        # A message that still waits needs no copy; without this, a long queue would fill up.
        if lab.broker.waiting(queue) == 0 and lab.broker.send(job_id, queue):
            jobs.mark_sent(lab.database, job_id, at=time.time())
        else:
            full.add(queue)


def _trouble(lab: Lab) -> str | None:
    try:
        lab.database.writes()
    except Exception as error:
        return errors.trouble(error) or "The database cannot be written."
    return lab.files.trouble() or room.nearly_full(lab)


def health(lab: Lab) -> Health:
    """Whether database, broker, workers and webhook answer."""
    database = lab.database.answers()
    workers = lab.broker.workers()
    active = job_queries.counts(lab.database) if database else {}
    queues = tuple(
        QueueHealth(
            queue=queue,
            waiting=active.get((queue, JobStatus.QUEUED), 0),
            running=active.get((queue, JobStatus.RUNNING), 0),
            workers=workers[queue] if workers else 0,
        )
        for queue in Queue
    )
    trouble = _trouble(lab) if database else None
    ok = database and trouble is None and workers is not None and all(q.workers for q in queues)
    return Health(
        ok=ok,
        version=VERSION,
        database=database,
        trouble=trouble,
        broker=workers is not None,
        queues=queues,
        webhook=announcing.health(lab) if database else None,
        gaps=gaps(),
    )
