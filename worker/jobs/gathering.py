"""How the worker that has an evaluation brings its parts together, and measures those that nobody
else takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from app.contracts.words import counted
from app.errors import JobError
from app.store import losses, shards
from app.store.jobs import LeaseLost
from app.store.shards import Shard
from worker import registry
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.jobs import sharding
from worker.jobs.bookmark import part_of
from worker.jobs.context import JobContext
from worker.jobs.ground import Ground
from worker.jobs.saves import LAST, UNREADABLE, latest, read

_LOOK_EVERY_S = 0.5
_NAMED = 3
"""Other workers that are told by name."""


class Gathering:
    """The parts of one evaluation. Their figures come together in the order of their numbers,
    whoever measured them and whenever, so they are those of one worker.
    """

    def __init__(
        self, context: JobContext, ground: Ground, measured: Sequence[Measurement], total: float
    ) -> None:
        """`total`: what all takes at most, in passes, with what comes after the parts."""
        self._context, self._ground, self._measured = context, ground, measured
        self.facts = sharding.facts()
        self._divide()
        self._before = {part.number for part in self._parts() if part.finished}
        """What earlier attempts measured."""
        self._total, self._done, self._made = total, 0.0, 0.0
        self._next = 0
        """The part that comes to the others next."""
        self._mine: set[int] = set()
        """What this process measured."""
        self._others = ""
        """Who else measures, in words; empty where nobody does."""
        context.every(_LOOK_EVERY_S, self._see)
        self.seconds = 0.0
        """What the parts took that are together, on however many workers."""

    def _divide(self) -> None:
        """Parts that this worker cannot go on with are said once, and what is kept of them goes."""
        files, ground, job = self._context.lab.files, self._ground, self._context.claim.job_id
        # Those that are there now: once the parts are divided, others write to folders beside them.
        kept = {folder.name: files.attempts(folder.name) for folder in files.all_checkpoints(job)}
        begun = self._context.insist(shards.divide, ground.parts, self.facts, shared=ground.shared)
        before_parts = kept.get(job, set())
        if begun or before_parts:
            self._context.warn(
                "It was begun by another version of the lab, on another device or with another "
                "number of threads, and figures would not be those of one run: it begins anew."
            )
        of_parts = (kept.get(job + part_of(number), set()) for number in begun)
        for path in before_parts.union(*of_parts):
            files.drop(path)

    def batches(self) -> Iterator[int]:
        """Measure; after each batch that is known of all models, how many images there are."""
        while self._next < self._ground.parts:
            if not self._took_one():
                self._measure_one()
            elif self._next % len(self._measured) == 0:
                yield len(self._measured[0].record)

    def rest(self) -> Meter:
        """For what comes after the parts, which nobody needs to go on with."""
        self._context.insist(shards.drop, first=self._next)
        meter = Meter(self._context.progress)
        meter.expect(self._total)
        meter.load((self._done_by(self._next), self._made))
        return meter

    def _took_one(self) -> bool:
        """Take in the next part; whether it is measured."""
        left = self._parts()[self._next :]
        if not left:  # they went with the evaluation, which another worker has ended since
            raise LeaseLost
        for shard in left:
            if shard.failure is not None:
                raise JobError(shard.failure["detail"], hint=shard.failure["hint"])
            if shards.is_given_up(shard):
                raise losses.Loss.of_worker().failure
        if not left[0].finished or not self._took_in(left[0]):
            return False
        if self._next not in self._before:
            self._context.got_further()
        self._next += 1
        return True

    def _took_in(self, shard: Shard) -> bool:
        files, name = self._context.lab.files, self._context.claim.job_id + part_of(shard.number)
        try:
            folder = files.here(files.checkpoints(name))
            page = read(latest(folder) / LAST)
            if page["facts"] != self.facts:
                raise ValueError("of another environment")
            state: dict[str, Any] = page["measured"]
        except UNREADABLE:
            self._context.warn("What came of a part is damaged: it is measured again.")
            # Those that are there now: once the part is free, somebody writes to a folder beside
            # them. And not before: whoever has lost the job finds what its new worker measured.
            damaged = files.attempts(name)
            self._context.insist(shards.begin_anew, shard.number)
            for path in damaged:
                files.drop(path)
            self._before.discard(shard.number)
            return False
        model = self._measured[self._ground.model_of(shard.number)]
        model.load(state, registry.device(), asked_here=shard.number in self._mine)
        self._made += page["meter"][1]
        self.seconds += page["seconds"]
        return True

    def _measure_one(self) -> None:
        """The next part that nobody has; where all are taken, wait a little."""
        context = self._context
        lab = context.lab
        claim = context.insist(shards.claim_of, worker=lab.offer.name, lease_s=lab.settings.lease_s)
        if claim is None:
            self._follow("what other workers measure")
            time.sleep(_LOOK_EVERY_S / 2)
            return
        self._mine.add(claim.number)
        part = sharding.ShardContext(lab, claim, context.stopping, within=context)
        part.follow = self._follow
        try:
            with sharding.held(part):
                sharding.run(self._ground, part)
        except LeaseLost:
            context.check()  # it was the part's, or the job's

    def _follow(self, phase: str) -> None:
        self._context.progress(round(self._done), round(self._total), phase + self._others)

    def _see(self) -> None:
        """How all parts stand, and who has them."""
        lab, job = self._context.lab, self._context.claim.job_id
        found, me = shards.of_job(lab.database, job), lab.offer.name
        self._done = max(self._done, sum(shard.done for shard in found))
        others = sorted({each.worker for each in found if each.held and each.worker} - {me})
        named = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
        self._others = f" (with {counted(len(others), 'other worker')}: {named})" if others else ""

    def _done_by(self, parts: int) -> float:
        """What so many parts take at most."""
        return max(self._done, sum(shard.done for shard in self._parts()[:parts]))

    def _parts(self) -> list[Shard]:
        return self._context.insist(lambda database, claim: shards.of_job(database, claim.job_id))
