"""Workers: who there is, what each runs, and who takes no new job."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from app.contracts.jobs import JobStatus, Queue
from app.contracts.placement import Offer, able
from app.contracts.views import QueueHealth, Running, Workers, WorkerView
from app.errors import NotFound
from app.queue import Present, serving
from app.services.changing import utc_or_none
from app.services.lab import Lab
from app.settings import RELEASE, code_version
from app.store import acting, job_queries, placement, shards
from app.store.tables import DrainRow, JobRow

_WAKE_AFTER_S = 2.0
"""A message takes less than that to whoever is free."""


def listed(lab: Lab) -> Workers:
    """All that were heard of lately, that have a job, or that are drained."""
    return _listed(lab, lab.broker.present())


def with_queues(lab: Lab) -> tuple[Workers, tuple[QueueHealth, ...]]:
    """All of them, and what their queues have; the broker is asked once."""
    present = lab.broker.present()
    active, drained = job_queries.counts(lab.database), placement.drains(lab.database)
    return _listed(lab, present), by_queue(present or (), active, drained)


def by_queue(
    present: Sequence[Present],
    active: Mapping[tuple[Queue, JobStatus], int],
    drained: Collection[str],
) -> tuple[QueueHealth, ...]:
    """What waits and runs in each queue, and how many of the workers serve it."""
    all_of = serving(present)
    taking_none = serving(worker for worker in present if worker.name in drained)
    return tuple(
        QueueHealth(
            queue=queue,
            waiting=active.get((queue, JobStatus.QUEUED), 0),
            running=active.get((queue, JobStatus.RUNNING), 0),
            workers=all_of[queue],
            drained=taking_none[queue],
        )
        for queue in Queue
    )


def _listed(lab: Lab, present: Sequence[Present] | None) -> Workers:
    drains = placement.drains(lab.database)
    runs: dict[str, list[JobRow]] = defaultdict(list)
    for row in placement.running(lab.database):
        assert row.worker is not None
        runs[row.worker].append(row)
    here = {worker.name: worker for worker in present or ()}
    items = tuple(
        _view(here.get(name, Present(name)), runs[name], drains.get(name))
        for name in sorted({*here, *drains, *runs})
    )
    return Workers(broker=present is not None, items=items)


def _view(worker: Present, runs: Sequence[JobRow], drain: DrainRow | None) -> WorkerView:
    offer = worker.offer or Offer(name="unknown")
    return WorkerView(
        name=worker.name,
        host=offer.host,
        device=offer.device if worker.offer else "",
        gpus=len(offer.gpus),
        room_mb=offer.room_mb,
        cores=offer.cores if worker.offer else None,
        gflops=offer.gflops,
        version=offer.version,
        differs=_difference(worker),
        queues=worker.queues or tuple(dict.fromkeys(Queue(row.queue) for row in runs)),
        runs=tuple(_running(row) for row in runs),
        heard_at=utc_or_none(worker.heard_at or None),
        silent=worker.silent,
        drained_at=None if drain is None else utc_or_none(drain.since),
        drained_by="" if drain is None else drain.by,
    )


def _running(row: JobRow) -> Running:
    assert row.claimed_at is not None
    since = datetime.fromtimestamp(row.claimed_at, UTC)
    return Running(job=row.id, title=row.name or row.title, since=since)


def _difference(worker: Present) -> str:
    """What follows where its code is not that of this process."""
    offer = worker.offer
    if not worker.heard_at:
        return ""
    if offer is None:
        return "It says nothing of itself: its code is of another version."
    if offer.release < RELEASE:
        return "Its code is older: it takes only jobs that such code submitted. Start it anew."
    if offer.release > RELEASE:
        return "Its code is newer than that of the web: start the web anew."
    return "" if offer.version == code_version() else "Its code is not quite that of the web."


def drain(lab: Lab, name: str) -> WorkerView:
    """Let a worker finish its job and take no other one. Raises NotFound."""
    _one(lab, name)
    act = acting.current()
    placement.drain(lab.database, name, by=(act.who if act is not None else "") or "owner")
    tell_drained(lab)
    return _one(lab, name)


def resume(lab: Lab, name: str) -> WorkerView:
    """Let a worker take jobs again. Raises NotFound."""
    found = _one(lab, name)
    placement.resume(lab.database, name)
    lab.broker.tell_drained(placement.drains(lab.database))
    return found.model_copy(update={"drained_at": None, "drained_by": ""})


def _one(lab: Lab, name: str) -> WorkerView:
    found = next((each for each in listed(lab).items if each.name == name), None)
    if found is None:
        raise NotFound(
            "There is no such worker.", hint="See the list of workers for those that are there."
        )
    return found


def tell_drained(lab: Lab) -> None:
    """Let the broker know who is drained: it forgets, SQL does not."""
    if drained := placement.drains(lab.database):
        lab.broker.tell_drained(drained)


def forget_drains(lab: Lab, *, older_than_s: float) -> None:
    """Of workers that are gone for good; while the broker is away, nobody knows which."""
    present = lab.broker.present()
    if present is None:
        return
    here = {worker.name for worker in present}
    long_ago = time.time() - older_than_s
    drains = placement.drains(lab.database).values()
    if gone := [row.worker for row in drains if row.since < long_ago and row.worker not in here]:
        placement.forget(lab.database, gone)


def wake_idle(lab: Lab) -> None:
    """Tell idle workers of what waits that they can run. A message that another one heard, which
    could not run it or had something better to do, is gone. Of parts of evaluations nobody else
    tells them."""
    late = time.time() - _WAKE_AFTER_S
    waiting = [each for each in placement.waiting(lab.database) if each.since < late]
    parts = shards.free_count(lab.database, lease_s=lab.settings.lease_s)
    if not waiting and not parts:
        return
    idle = _idle(lab)
    for each in waiting:
        hears = able(each.needs, idle.get(each.queue, ()))
        if hears and lab.broker.waiting(each.queue, each.needs) == 0:
            lab.broker.send(each.first, each.queue, each.needs)
    helpers = idle.get(Queue.EVALUATE, ())
    if helpers and parts and lab.broker.waiting(Queue.EVALUATE) == 0:
        for _ in range(min(parts, len(helpers))):
            lab.broker.send("", Queue.EVALUATE)


def _idle(lab: Lab) -> Mapping[Queue, list[Offer]]:
    """What those workers offer that have neither a job nor a part of one and may take one, by
    queue."""
    busy = {row.worker for row in placement.running(lab.database)} | shards.holders(lab.database)
    drained = placement.drains(lab.database)
    idle: dict[Queue, list[Offer]] = defaultdict(list)
    for worker in lab.broker.present() or ():
        if not worker.silent and worker.offer and worker.name not in {*busy, *drained}:
            for queue in worker.queues:
                idle[queue].append(worker.offer)
    return idle
