"""One part of an evaluation: a batch before one model, measured by whichever worker took it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial

from app.errors import trouble
from app.store import shards
from app.store.jobs import LeaseLost
from app.store.shards import ShardClaim
from worker import registry
from worker.evaluation.arguments import norm_of, unit_noise
from worker.evaluation.progress import Meter
from worker.jobs.bookmark import Bookmark
from worker.jobs.context import Interrupted, JobContext, WorkerLab
from worker.jobs.ground import Ground, tell
from worker.jobs.lease import renewed


def facts() -> str:
    """A digest of what figures depend on besides parameters."""
    here = registry.environment(0).model_dump_json()
    return hashlib.sha256(here.encode()).hexdigest()


@dataclass
class ShardContext(JobContext):
    """One attempt of one part. What it says is said by the evaluation."""

    claim: ShardClaim  # type: ignore[assignment]
    within: JobContext | None = None
    """That of the evaluation, where this worker has it."""
    follow: Callable[[str], None] = lambda _: None
    """Hears what is being done, at every step."""

    must_end = staticmethod(shards.must_end)
    append = staticmethod(shards.report)
    forgive = staticmethod(shards.forgive)

    def progress(self, done: int, total: int, phase: str) -> None:
        """Note how far the part is, at most once a second, and check whether it must end."""
        self.check()
        if self._reports.due():
            self.insist(shards.note, done)
        self.follow(phase)

    def got_further(self) -> None:
        """Of the part, and so of the evaluation."""
        super().got_further()
        if self.within is not None:
            self.within.got_further()


def run(ground: Ground, context: ShardContext) -> None:
    """Measure a part that was claimed, and keep what came of it.

    Raises Cancelled, Interrupted, LeaseLost, JobError, OSError where it cannot be kept.
    """
    with _lease(context.lab, context.claim):
        try:
            done = _measure(ground, context)
            context.insist(shards.finish, done)
        except Exception as error:
            # Also where the evaluation is another worker's now: that need not wait for the lease.
            if isinstance(error, Interrupted | LeaseLost) or trouble(error) is not None:
                give_back(context.lab, context.claim)
            raise


def give_back(lab: WorkerLab, claim: ShardClaim) -> None:
    """Let another worker take it: that it is not measured is no fault of it."""
    with suppress(LeaseLost):
        shards.give_back(lab.database, claim)


def _measure(ground: Ground, context: ShardContext) -> float:
    """Returns what it took at most, in passes."""
    number = context.claim.number
    chunk, model = ground.chunk(number), ground.model_of(number)
    measured, meter = ground.measurement(model), Meter(context.progress)
    units = ground.passes(measured, len(chunk.numbers))
    meter.expect(units)
    ground.watch.meter = meter
    bookmark = Bookmark(context, number, facts(), measured, meter)
    params = ground.params
    start = unit_noise(chunk.x, norm_of(params.attack), params.seed, chunk.numbers)
    told = partial(tell, context, measured) if chunk.index == 0 else None
    with bookmark.kept():
        work = measured.measure(chunk, start, meter, told, bookmark.mark, bookmark.work)
    if not bookmark.close(work):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return units


def _lease(lab: WorkerLab, claim: ShardClaim) -> AbstractContextManager[None]:
    lease_s = lab.settings.lease_s
    renew = partial(shards.renew, lab.database, claim, lease_s=lease_s)
    return renewed(f"part {claim.number} of job {claim.job_id}", renew, lease_s=lease_s)
