"""One model's evaluation, chunk by chunk: the order in which everything is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts import words
from app.contracts.params import EvaluateParams, Goal, Method
from app.contracts.results import Accuracy
from worker.evaluation import attacks
from worker.evaluation.arguments import norm_of
from worker.evaluation.attacks import restarts_of
from worker.evaluation.curves import climb_budgets
from worker.evaluation.gallery import Candidates
from worker.evaluation.kept import Kept
from worker.evaluation.minimal import bisect, halvings
from worker.evaluation.outcomes import MAIN, STANDS, WRONG, ChunkState, RunRecord
from worker.evaluation.progress import Meter
from worker.evaluation.runs import length_of, lengths_of, run_all
from worker.evaluation.success import SuccessCheck
from worker.evaluation.supplements import Attention, Corruptions
from worker.evaluation.target import AttackBatch, Chunk, Source, TargetModel

Phase = Callable[[str], AbstractContextManager[None]]
"""Names what is being measured while it is."""

_CLEAN, _MINIMAL = "clean images", "minimal ε"
_ATTENTION, _CORRUPTIONS, _GALLERY = "attention", "corruptions", "gallery"


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
        self.only_fgsm = 0
        """Images that FGSM broke and no run of the main attack did."""
        self._first = words.attack(params.attack)
        self.costs = self._costs()
        """What each phase takes an image at most, in passes forward and backward."""

    def measure(
        self,
        chunk: Chunk,
        start: Tensor,
        meter: Meter,
        tell: Callable[[SoFar], None] = lambda _: None,
    ) -> None:
        """All of it, on one chunk; `start` (B, 3, H, W) is where first restarts start.

        `tell` hears what is known after each attack at the budget of the threat model.
        """
        phase = self._phases(meter, chunk)
        with phase(_CLEAN), torch.no_grad():
            logits = self.target_model.model(chunk.x)
        state = ChunkState.after_clean_pass(chunk.x, chunk.y, logits.argmax(dim=1))
        batch = AttackBatch.of(self.target_model, self.params, self.classes, chunk, start, logits)
        with phase(self._first):
            reached = self._main(batch, state)
        tell(self._so_far(MAIN, state))
        self._climb(phase, batch, state, batch.start, beyond=False)
        for number, entry in enumerate(self.entries[1:], start=MAIN + 1):
            has_work = entry.sees_all or len(state.standing()) > 0
            with phase(entry.title):
                self._further(batch, state, entry, number)
            if has_work:
                tell(self._so_far(number, state))
        self._climb(phase, batch, state, reached, beyond=True)
        if self.params.minimal_epsilon:
            with phase(_MINIMAL):
                bisect(batch, self.success_check, state)
        self._look(phase, chunk, batch, state)
        self.record.add(chunk.numbers, state)

    def clean(self) -> Accuracy:
        """Of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by != WRONG).sum()), len(broken_by))

    def robust(self) -> Accuracy:
        """The worst case of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by == STANDS).sum()), len(broken_by))

    def _so_far(self, number: int, state: ChunkState) -> SoFar:
        """After the attack of that number."""
        stage = self._first if number == MAIN else self.entries[number - MAIN].title
        left = len(self.entries) - number
        correct, standing = len(state.correct()), len(state.standing())
        images = len(self.record) + len(state.y)
        if len(self.record):
            correct += self.clean().correct
            standing += self.robust().correct
        clean, robust = Accuracy.of(correct, images), Accuracy.of(standing, images)
        return SoFar(stage, images, clean, robust, left)

    def _main(self, batch: AttackBatch, state: ChunkState) -> Tensor:
        """The main attack on all images that are right when clean; where it left them.

        That is a point of the unit ball for each image, (B, 3, H, W).
        """
        rows, tally, begin = state.correct(), self.tallies[0], time.perf_counter()
        if len(rows) == 0:
            return batch.start
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
        return batch.start.index_copy(0, rows, runs.direction(batch.x[rows], eps))

    def _further(
        self, batch: AttackBatch, state: ChunkState, entry: attacks.Entry, number: int
    ) -> None:
        """One row's attack on the images that stand, or on all that are right when clean."""
        tally, begin, eps = self.tallies[number - 1], time.perf_counter(), self.params.epsilon
        tally.attacked += len(state.standing())
        rows = state.correct() if entry.sees_all else state.standing()
        if len(rows) == 0:
            return
        part = batch.take(rows)
        returned = attacks.run(entry, part)
        success = self.success_check(part.x, returned.x_adv, part.y, eps, returned.claimed)
        if entry.method is Method.FGSM:
            survived = state.first_break[rows] > self.lengths[-1]
            self.only_fgsm += int((success.broken & survived).sum())
        elif entry.method.record.query_curve and entry.sees_all:
            assert returned.first_break is not None
            needed = returned.first_break.where(success.broken, self.params.queries + 1)
            state.queries[rows] = needed
        state.note(rows, success, eps, by=number, own=eps)
        tally.broken_alone += int(success.broken.sum())
        tally.largest = max(tally.largest, success.largest)
        tally.seconds += time.perf_counter() - begin

    def _climb(
        self, phase: Phase, batch: AttackBatch, state: ChunkState, start: Tensor, *, beyond: bool
    ) -> None:
        """The budgets below that of the threat model, or those beyond it."""
        budgets = self._budgets(beyond)
        climb_budgets(
            batch, self.success_check, state, budgets, start, lambda eps: phase(self._at(eps))
        )

    def _look(self, phase: Phase, chunk: Chunk, batch: AttackBatch, state: ChunkState) -> None:
        rows = state.correct()
        masks = None if chunk.masks is None else chunk.masks[rows]
        if self.params.attention:
            with phase(_ATTENTION):
                self.attention.add(batch.take(rows), masks)
        if self.params.corruptions:
            with phase(_CORRUPTIONS):
                self.corruptions.add(batch)
        with phase(_GALLERY), torch.no_grad():
            self.candidates.add(chunk, state)
            self.kept.add(chunk, state)

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

    def _phases(self, meter: Meter, chunk: Chunk) -> Phase:
        def phase(name: str) -> AbstractContextManager[None]:
            title = f"{self.target_model.name}: {name}"
            return meter.stage(title, self.costs[name] * len(chunk.numbers))

        return phase
