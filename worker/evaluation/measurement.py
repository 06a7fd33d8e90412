"""One model's evaluation, chunk by chunk: the order in which everything is measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.contracts import words
from app.contracts.params import EvaluateParams, Goal, Method
from app.contracts.results import Accuracy
from worker.evaluation import attacks
from worker.evaluation.arguments import norm_of
from worker.evaluation.attacks import restarts_of
from worker.evaluation.curves import attack_at
from worker.evaluation.gallery import Candidates
from worker.evaluation.kept import Kept
from worker.evaluation.minimal import bisect, halvings
from worker.evaluation.outcomes import MAIN, STANDS, WRONG, ChunkState, RunRecord
from worker.evaluation.progress import Meter
from worker.evaluation.runs import length_of, lengths_of, run_all
from worker.evaluation.stages import Stage, Work
from worker.evaluation.success import SuccessCheck
from worker.evaluation.supplements import Attention, Corruptions
from worker.evaluation.target import AttackBatch, Chunk, Source, TargetModel
from worker.models import BlackBox
from worker.models.blocks import BLOCK

Phase = Callable[[str, int], AbstractContextManager[None]]
"""Names what is being measured while it is, and of how many images."""

PIECE_S = 30.0
"""Seconds that a piece of a stage takes at most, roughly, where one image takes no longer."""

_CLEAN, _MINIMAL = "clean images", "minimal ε"
_ATTENTION, _CORRUPTIONS, _GALLERY = "attention", "corruptions", "gallery"
_KEPT = ("record", "success_check", "attention", "corruptions", "kept")
"""Parts of a `Measurement` that know more with every chunk; and so do the candidates."""


class _Pace:
    """How fast this attempt at a chunk is."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._made, self._since = meter, meter.made, time.perf_counter()

    def images(self, passes: float) -> int:
        """How many images make a piece that take so many passes each: whole blocks of a network,
        at least one; of what takes no pass, any number."""
        made, seconds = self._meter.made - self._made, time.perf_counter() - self._since
        if passes == 0 or made == 0:
            return sys.maxsize
        found = int(PIECE_S * made / seconds / passes)
        return max(found - found % BLOCK, min(found, BLOCK), 1)


@dataclass
class Tally:
    """What one row of the table of attacks counts."""

    attacked: int = 0
    """Images that stood when it began."""
    broken_alone: int = 0
    """Images that this attack alone breaks, where it sees all that are right when clean."""
    largest: float = 0.0
    """The largest finite norm of what it returned."""
    seconds: float = 0.0

    def take_in(self, other: Tally) -> None:
        """What was counted on other images."""
        self.attacked += other.attacked
        self.broken_alone += other.broken_alone
        self.largest = max(self.largest, other.largest)
        self.seconds += other.seconds


class SoFar(NamedTuple):
    """What is known of one model in the midst of a chunk."""

    stage: str
    """The attack that has just ended, in words."""
    images: int
    """Those measured before, and those at work."""
    clean: Accuracy
    robust: Accuracy
    """After the attacks so far."""
    attacks_left: int
    """How many have yet to run on the images at work."""


class Measurement:
    """Measures one model on chunk after chunk. Keeps some numbers of every image, and
    of images only those that it is asked to."""

    def __init__(
        self,
        target_model: TargetModel,
        params: EvaluateParams,
        classes: Sequence[str],
        sources: Sequence[Source],
        keep: Collection[int] = (),
    ) -> None:
        """Before the first chunk. `sources` are what transfer attacks; `keep` the numbers of the
        images whose adversarial examples are kept."""
        self.target_model, self.params, self.classes = target_model, params, tuple(classes)
        self.length = length_of(params)
        self.lengths = lengths_of(params.attack, params.step_counts)
        self.entries = attacks.plan(params, target_model, sources)
        self.tallies = tuple(Tally() for _ in self.entries)
        self.success_check = SuccessCheck(target_model.model, norm_of(params.attack))
        self.record = RunRecord()
        self.attention = Attention(target_model, params)
        self.corruptions = Corruptions(target_model, params)
        self.kept = Kept(target_model.model, keep)
        self.candidates = Candidates(target_model, len(params.models))
        self._asked_before = 0
        self.asks_from_here()
        self.only_fgsm = 0
        """Images that FGSM broke and no run of the main attack did."""
        self._first = words.attack(params.attack)
        self.stages = tuple(self._stages())
        self.costs = self._costs()
        """What each phase takes an image at most, in passes forward and backward."""

    def measure(
        self,
        chunk: Chunk,
        start: Tensor,
        meter: Meter,
        tell: Callable[[SoFar], None] | None = None,
        after: Callable[[Work], None] = lambda _: None,
        kept: Mapping[str, Any] | None = None,
    ) -> Work:
        """All of it, on one chunk; `start` (B, 3, H, W) is where first restarts start.

        A stage is done in pieces of at most about `PIECE_S`, at the pace of those before: however
        they fall, figures are the same. `tell` hears what is known after each attack at the budget
        of the threat model, `after` of each piece that is over. `kept`: what `Work.kept` gave after
        one of these in an earlier attempt, which this one goes on from, with the `meter`'s state of
        then.
        """
        pace = _Pace(meter)
        phase = self._phases(meter)
        # Seen again, and not counted again, where another attempt has seen them.
        with phase(_CLEAN, 0 if kept else len(chunk.numbers)), torch.no_grad():
            logits = self.target_model.model(chunk.x)
        batch = AttackBatch.of(self.target_model, self.params, self.classes, chunk, start, logits)
        state = ChunkState.after_clean_pass(chunk.x, chunk.y, logits.argmax(dim=1))
        work = Work(chunk=chunk, batch=batch, state=state, reached=start, at=start)
        if kept is not None:
            work.go_on(kept)
            meter.load(kept["meter"])
        for stage in self.stages[work.done :]:
            attack = self._pieces(work, stage, pace, phase, after)
            work.done, work.images = work.done + 1, 0
            if attack is not None and tell is not None:
                tell(self._so_far(attack, work))
            after(work)
        return work

    def _pieces(
        self, work: Work, stage: Stage, pace: _Pace, phase: Phase, after: Callable[[Work], None]
    ) -> int | None:
        """A stage on what is left of the chunk; returns the number of the attack that it was."""
        attack = None
        while True:
            end = work.end_of(stage, pace.images(self.costs[stage.title]))
            with phase(stage.title, end - work.images):
                attack = work.run(stage, end) or attack
            if end == len(work.chunk.numbers):
                return attack
            after(work)

    def state(self) -> dict[str, Any]:
        """What is known of all images so far, for `load`: plain values, and tensors on the CPU."""
        tallies = [dict(vars(tally)) for tally in self.tallies]
        kept = {name: getattr(self, name).state() for name in ("candidates", *_KEPT)}
        return {"tallies": tallies, "only_fgsm": self.only_fgsm, "asked": self.asked, **kept}

    def load(
        self, state: Mapping[str, Any], device: torch.device, *, asked_here: bool = False
    ) -> None:
        """Take in a `state`, of other images; `device`: where images are.

        `asked_here`: it was this process that asked the model, which knows how often.
        """
        model, asked = self.target_model.model, state["asked"] or 0
        if isinstance(model, BlackBox) and not asked_here:
            model.asked += asked
            self._asked_at_first += asked
        self._asked_before += asked
        for tally, other in zip(self.tallies, state["tallies"], strict=True):
            tally.take_in(Tally(**other))
        self.only_fgsm += state["only_fgsm"]
        self.candidates.load(state["candidates"], device)
        for name in _KEPT:
            getattr(self, name).load(state[name])

    def asks_from_here(self) -> None:
        """What the model was asked about until now is not this measurement's."""
        model = self.target_model.model
        self._asked_at_first = model.asked if isinstance(model, BlackBox) else 0

    @property
    def asked(self) -> int | None:
        """Images that a model was asked about that only answers; None of others."""
        model = self.target_model.model
        if not isinstance(model, BlackBox):
            return None
        return self._asked_before + model.asked - self._asked_at_first

    def clean(self) -> Accuracy:
        """Of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by != WRONG).sum()), len(broken_by))

    def robust(self) -> Accuracy:
        """The worst case of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by == STANDS).sum()), len(broken_by))

    def _so_far(self, number: int, work: Work) -> SoFar:
        """After the attack of that number."""
        state = work.state
        stage = self._first if number == MAIN else self.entries[number - MAIN].title
        left = len(self.entries) - number
        correct, standing = len(state.correct()), len(state.standing())
        images = len(self.record) + len(state.y)
        if len(self.record):
            correct += self.clean().correct
            standing += self.robust().correct
        clean, robust = Accuracy.of(correct, images), Accuracy.of(standing, images)
        return SoFar(stage, images, clean, robust, left)

    def _stages(self) -> Iterator[Stage]:
        """What is measured of every chunk after the clean pass, in this order."""
        yield Stage(self._first, self._main, ChunkState.correct)
        yield from self._climb(beyond=False)
        for number, entry in enumerate(self.entries[1:], start=MAIN + 1):
            takes = ChunkState.correct if entry.sees_all else ChunkState.standing
            yield Stage(entry.title, partial(self._further, entry, number), takes)
        yield from self._climb(beyond=True)
        if self.params.minimal_epsilon:
            yield Stage(_MINIMAL, self._bisect, ChunkState.correct)
        if self.params.attention:
            yield Stage(_ATTENTION, self._look, ChunkState.correct)
        if self.params.corruptions:
            yield Stage(_CORRUPTIONS, self._corrupt, ChunkState.every)
        yield Stage(_GALLERY, self._conclude, ChunkState.every)

    def _main(self, work: Work) -> int:
        """The main attack on all images that are right when clean."""
        batch, state = work.batch, work.state
        rows, tally, begin = state.correct(), self.tallies[0], time.perf_counter()
        if len(rows) == 0:
            return MAIN
        eps = self.params.epsilon
        runs = run_all(
            batch.take(rows),
            self.success_check,
            eps,
            lengths=self.lengths,
            exact=bool(self.params.step_counts),
        )
        state.first_break[rows], state.restart[rows] = runs.first_break, runs.restart
        if self.params.attack.method.record.query_curve:
            state.queries[rows] = runs.first_break
        state.note(rows, runs.success, eps, by=MAIN, own=eps)
        state.left(rows, runs.success)
        state.withstood(rows[~runs.success.broken], eps)
        tally.attacked += len(rows)
        tally.broken_alone += int((runs.first_break <= self.length).sum())
        tally.largest = max(tally.largest, runs.largest)
        tally.seconds += time.perf_counter() - begin
        work.reached = batch.start.index_copy(0, rows, runs.direction(batch.x[rows], eps))
        return MAIN

    def _further(self, entry: attacks.Entry, number: int, work: Work) -> int | None:
        """One row's attack on the images that stand, or on all that are right when clean."""
        batch, state = work.batch, work.state
        has_work = entry.sees_all or len(state.standing()) > 0
        tally, begin, eps = self.tallies[number - 1], time.perf_counter(), self.params.epsilon
        tally.attacked += len(state.standing())
        rows = state.correct() if entry.sees_all else state.standing()
        if len(rows) == 0:
            return number if has_work else None
        part = batch.take(rows)
        returned = attacks.run(entry, part)
        success = self.success_check(part.x, returned.x_adv, part.y, eps, returned.claimed)
        if entry.method is Method.FGSM:
            survived = state.first_break[rows] > self.lengths[-1]
            self.only_fgsm += int((success.broken & survived).sum())
        elif self._draws_queries(entry):
            assert returned.first_break is not None
            needed = returned.first_break.where(success.broken, self.params.queries + 1)
            state.queries[rows] = needed
        state.note(rows, success, eps, by=number, own=eps)
        tally.broken_alone += int(success.broken.sum())
        tally.largest = max(tally.largest, success.largest)
        tally.seconds += time.perf_counter() - begin
        return number

    def _draws_queries(self, entry: attacks.Entry) -> bool:
        """Whether the curve of queries is that of a further attack."""
        first = self.params.attack.method.record
        return entry.sees_all and entry.method.record.query_curve and not first.query_curve

    def _climb(self, *, beyond: bool) -> Iterator[Stage]:
        """The budgets below that of the threat model, or those beyond it, where the main attack's
        examples are where the first one starts."""
        for place, eps in enumerate(self._budgets(beyond)):
            run = partial(self._attack_at, eps, beyond and place == 0)
            yield Stage(self._at(eps), run, methodcaller("unbroken_at", eps))

    def _attack_at(self, eps: float, beyond: bool, work: Work) -> None:
        start = work.reached if beyond else work.at
        work.at = attack_at(work.batch, self.success_check, work.state, eps, start)

    def _bisect(self, work: Work) -> None:
        bisect(work.batch, self.success_check, work.state)

    def _look(self, work: Work) -> None:
        rows, masks = work.state.correct(), work.chunk.masks
        self.attention.add(work.batch.take(rows), None if masks is None else masks[rows])

    def _corrupt(self, work: Work) -> None:
        self.corruptions.add(work.batch)

    @torch.no_grad()
    def _conclude(self, work: Work) -> None:
        self.candidates.add(work.chunk, work.state)
        self.kept.add(work.chunk, work.state)
        self.record.add(work.chunk.numbers, work.state)

    def _budgets(self, beyond: bool) -> list[float]:
        own, budgets = self.params.epsilon, self.params.epsilons
        return [eps for eps in budgets if (eps > own if beyond else 0 < eps < own)]

    def _at(self, eps: float) -> str:
        return f"ε = {words.budget(self.params.attack.norm, eps)}"

    def _costs(self) -> dict[str, float]:
        attack, goal = self.params.attack, self.params.attack.goal
        aims = len(self.classes) - 1 if goal is Goal.ALL_CLASSES else 1
        runs = restarts_of(attack) * aims
        one = float(self.length * runs)
        whole = float(sum(self.lengths) * runs)
        if not attack.method.record.iterative:
            one = whole = attacks.CRAFT[attack.method].passes(self.params)
        costs = {_CLEAN: 1.0, self._first: whole}
        for eps in self._budgets(beyond=False) + self._budgets(beyond=True):
            costs[self._at(eps)] = one
        costs |= {entry.title: entry.passes for entry in self.entries[1:]}
        if self.params.minimal_epsilon:
            costs[_MINIMAL] = halvings(self.params) * one
        costs[_ATTENTION], costs[_CORRUPTIONS] = self.attention.passes, self.corruptions.passes
        costs[_GALLERY] = self.candidates.passes + self.kept.passes
        return costs

    def _phases(self, meter: Meter) -> Phase:
        def phase(name: str, images: int) -> AbstractContextManager[None]:
            return meter.stage(f"{self.target_model.name}: {name}", self.costs[name] * images)

        return phase
