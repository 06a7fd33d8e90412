"""One part of an evaluation: a batch before one model, measured by whichever worker took it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from worker.jobs.context import Interrupted, JobContext
from worker.jobs.ground import Ground, tell
from worker.jobs.lease import renewed

_NOTE_EVERY_S = 1.0


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

    def __post_init__(self) -> None:
        super().__post_init__()
        self._done = self._noted = 0
        self.every(_NOTE_EVERY_S, self._note)

    def progress(self, done: int, total: int, phase: str) -> None:
        """Say how far the part is, and check whether it must end."""
        self.check()
        self._done = done
        self.follow(phase)

    def _note(self) -> None:
        if (done := self._done) != self._noted:
            shards.note(self.lab.database, self.claim, done)
            self._noted = done

    def got_further(self) -> None:
        """Of the part, and so of the evaluation."""
        super().got_further()
        if self.within is not None:
            self.within.got_further()


@contextmanager
def held(context: ShardContext) -> Iterator[None]:
    """Around all work on a part that was claimed: what is no fault of it gives it back."""
    lab, claim = context.lab, context.claim
    renew = partial(shards.renew, lab.database, claim, lease_s=lab.settings.lease_s)
    what = f"part {claim.number} of job {claim.job_id}"
    with renewed(what, renew, lease_s=lab.settings.lease_s), context:
        try:
            yield
        except Exception as error:
            # Also where the evaluation is another worker's now: that need not wait for the lease.
            if isinstance(error, Interrupted | LeaseLost) or trouble(error) is not None:
                with suppress(LeaseLost):
                    context.flush()
                    shards.give_back(lab.database, claim)
            raise


def run(ground: Ground, context: ShardContext) -> None:
    """Measure a part that is held, and keep what came of it.

    Raises Cancelled, Interrupted, LeaseLost, JobError, OSError where it cannot be kept.
    """
    done = _measure(ground, context)
    context.insist(shards.finish, done)


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
