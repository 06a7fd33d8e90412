"""A free worker that helps: it measures parts of evaluations that other workers have."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app.contracts.jobs import Queue
from app.contracts.params import EvaluateParams
from app.contracts.stored import understood
from app.errors import trouble
from app.store import jobs, shards
from app.store.jobs import LeaseLost
from app.store.shards import ShardClaim
from worker.jobs import sharding
from worker.jobs.context import Cancelled, Interrupted, WorkerLab
from worker.jobs.failing import explained
from worker.jobs.ground import Ground

_log = logging.getLogger(__name__)
_PATIENCE_S = (1.0, 4.0)
"""For so long a job waits before a helper makes room for it: each for another while, so that one
job ends the help of one worker."""
_LOOK_EVERY_S = 0.5


@dataclass
class HelpingContext(sharding.ShardContext):
    """Of a part that gives way to a job that waits; what was measured of it is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._patience_s = random.uniform(*_PATIENCE_S)
        self._waits_since: float | None = None
        self.every(_LOOK_EVERY_S, self._look_at_queue)

    def _look_at_queue(self) -> None:
        now = self.lab.clock()
        if not jobs.waits(self.lab.database, Queue.EVALUATE, self.lab.offer):
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= self._patience_s:
            raise Interrupted


class Helper:
    """One worker while it helps; models and images of one evaluation stay loaded."""

    def __init__(self, lab: WorkerLab, stopping: Callable[[], bool]) -> None:
        self._lab, self._stopping = lab, stopping
        self._facts = sharding.facts()
        self._ground: tuple[str, Ground] | None = None
        self.helped = False
        """Whether it had a part so far."""

    def took_one(self) -> bool:
        """Measure the next part; whether there was one, and nothing else to do after it."""
        lab, lease_s = self._lab, self._lab.settings.lease_s
        if self._stopping() or jobs.waits(lab.database, Queue.EVALUATE, lab.offer):
            return False
        name = lab.offer.name
        claim = shards.claim_any(lab.database, self._facts, worker=name, lease_s=lease_s)
        if claim is None:
            return False
        self.helped = True
        _log.info("helps", extra={"facts": {"job": claim.job_id, "part": claim.number}})
        try:
            self._measure(claim)
        except (Cancelled, LeaseLost):
            pass  # its evaluation is over, or another worker has the part
        except Interrupted:
            return False
        except Exception as error:
            self._give_up(claim, error)
            return False
        return True

    def _measure(self, claim: ShardClaim) -> None:
        context = HelpingContext(self._lab, claim, self._stopping)
        params = understood(EvaluateParams, claim.params)
        if params is None:  # the worker that has the job says so
            raise LeaseLost
        with sharding.held(context):
            if self._ground is None or self._ground[0] != claim.job_id:
                self._ground = claim.job_id, Ground(context, params)
            sharding.run(self._ground[1], context)

    def _give_up(self, claim: ShardClaim, error: Exception) -> None:
        """A disk or a database in trouble is no fault of the part; all else ends its evaluation."""
        if trouble(error) is not None:
            return
        failure = explained(error, f"a part of job {claim.job_id}")
        with suppress(LeaseLost):
            shards.fail(self._lab.database, claim, failure)
