"""What keeps the lab in order: lost jobs, forgotten files, and whether everything answers."""

from __future__ import annotations

import time

from app import errors
from app.ablations import lifecycle
from app.contracts.access import Held
from app.contracts.jobs import Queue
from app.contracts.placement import Needs
from app.contracts.views import Health
from app.services import announcing, room, workers
from app.services.jobs import CHART_POINTS
from app.services.lab import Lab
from app.settings import VERSION
from app.store import catalogue, job_queries, jobs, marks, placement, thinning
from app.store.files import named_as
from app.store.tables import DatasetRow, JobRow
from confinement import gaps

_RESEND_AFTER_S = 30.0
_UPLOAD_KEPT_S = 3600.0
_THINNED_AT_ONCE = 100
_KEPT_S = 7 * 24 * 3600.0
"""For how long what is in the bin and the checkpoints of ended trainings can still be wanted."""


def reconcile(lab: Lab) -> None:
    """Give lost jobs back to the queue, and tell the broker again about what nobody took."""
    changed = lab.leases.release(lab.database)
    changed += lifecycle.advance_all(lab.database, lab.files)
    for job_id in changed:
        lab.broker.ring(job_id)
    _resend(lab)
    workers.tell_drained(lab)
    if room.nearly_full(lab) is None:
        workers.wake_idle(lab)


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
        for path in (*lab.files.left_by(job_id), *lab.files.all_checkpoints(job_id)):
            lab.files.drop(path)
    left = {named_as("checkpoints", name) for name in lab.files.with_checkpoints()}
    for job_id in job_queries.going_on_no_more(lab.database, left, older_than_s=_KEPT_S):
        # Asked only now: what was dropped until here took its time in a storage.
        if job_queries.going_on_from(lab.database, [job_id]) is None:
            for path in lab.files.all_checkpoints(job_id):
                lab.files.drop(path)
    workers.forget_drains(lab, older_than_s=_KEPT_S)


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
    full: set[tuple[Queue, int]] = set()
    for job_id, queue, gpus in job_queries.unsent(lab.database, older_than_s=_RESEND_AFTER_S):
        if (queue, gpus) in full:
            continue
        # A message that still waits needs no copy; without this, a long queue would fill up.
        needs = Needs(gpus=gpus)
        if lab.broker.waiting(queue, needs) == 0 and lab.broker.send(job_id, queue, needs):
            jobs.mark_sent(lab.database, job_id, at=time.time())
        else:
            full.add((queue, gpus))


def _trouble(lab: Lab) -> str | None:
    try:
        lab.database.writes()
    except Exception as error:
        return errors.trouble(error) or "The database cannot be written."
    return lab.database.misfit() or lab.files.trouble() or room.nearly_full(lab)


def health(lab: Lab) -> Health:
    """Whether database, broker, workers and webhook answer."""
    database, present = lab.database.answers(), lab.broker.present()
    active = job_queries.counts(lab.database) if database else {}
    drained = placement.drains(lab.database) if database else {}
    queues = workers.by_queue(present or (), active, drained)
    trouble = _trouble(lab) if database else None
    served = present is not None and all(each.workers > each.drained for each in queues)
    ok = database and trouble is None and served
    return Health(
        ok=ok,
        version=VERSION,
        database=database,
        trouble=trouble,
        broker=present is not None,
        queues=queues,
        webhook=announcing.health(lab) if database else None,
        gaps=gaps(),
    )
