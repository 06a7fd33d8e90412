"""One model's evaluation, chunk by chunk: the order in which everything is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.params import EvaluateParams, Goal, Method, Norm
from app.contracts.results import Accuracy
from app.contracts.units import format_255
from worker.evaluation import further
from worker.evaluation.arguments import restarts_of, steps_of
from worker.evaluation.curves import climb
from worker.evaluation.minimal import bisect, halvings
from worker.evaluation.outcomes import MAIN, STANDS, WRONG, ChunkState, Record
from worker.evaluation.pictures import Attention, Corruptions
from worker.evaluation.progress import Meter
from worker.evaluation.referee import Referee
from worker.evaluation.runs import lengths_of, run_all
from worker.evaluation.subject import Chunk, Scene, Source, Subject
from worker.evaluation.suite import Entry, plan

Phase = Callable[[str], AbstractContextManager[None]]
"""Names what is being measured while it is."""

_CLEAN, _MINIMAL = "clean images", "minimal ε"
_ATTENTION, _CORRUPTIONS = "attention", "corruptions"


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


class Measurement:
    """Measures one model on chunk after chunk. Keeps some numbers of every image, but no image."""

    def __init__(
        self,
        subject: Subject,
        params: EvaluateParams,
        classes: Sequence[str],
        sources: Sequence[Source],
    ) -> None:
        """Before the first chunk; `sources` are what transfer attacks."""
        self.subject, self.params, self.classes = subject, params, tuple(classes)
        self.how = steps_of(params.attack)
        self.lengths = lengths_of(params.attack, params.step_counts)
        self.entries = plan(params, subject, sources)
        self.tallies = tuple(Tally() for _ in self.entries)
        self.referee = Referee(subject.model, params.attack.norm.value)
        self.record = Record()
        self.attention = Attention(subject, params)
        self.corruptions = Corruptions(subject, params)
        self.only_fgsm = 0
        """Images that FGSM broke and no run of the main attack did."""
        self.costs = self._costs()
        """What each phase takes an image at most, in passes forward and backward."""

    def measure(self, chunk: Chunk, start: Tensor, meter: Meter) -> None:
        """All of it, on one chunk; `start` (B, 3, H, W) is where first restarts start."""
        phase = self._phases(meter, chunk)
        with phase(_CLEAN), torch.no_grad():
            logits = self.subject.model(chunk.x)
        state = ChunkState.after_clean_pass(chunk.y, logits.argmax(dim=1))
        scene = Scene.of(self.subject, self.params, self.classes, chunk, start, logits)
        with phase(self.entries[0].title):
            reached = self._main(scene, state)
        self._climb(phase, scene, state, scene.start, beyond=False)
        for number, entry in enumerate(self.entries[1:], start=MAIN + 1):
            with phase(entry.title):
                self._further(scene, state, entry, number)
        self._climb(phase, scene, state, reached, beyond=True)
        if self.params.minimal_epsilon:
            with phase(_MINIMAL):
                bisect(scene, self.referee, state)
        self._look(phase, chunk, scene, state)
        self.record.add(chunk.numbers, state)

    def clean(self) -> Accuracy:
        """Of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by != WRONG).sum()), len(broken_by))

    def robust(self) -> Accuracy:
        """The worst case of the images so far."""
        broken_by = self.record["broken_by"]
        return Accuracy.of(int((broken_by == STANDS).sum()), len(broken_by))

    def _main(self, scene: Scene, state: ChunkState) -> Tensor:
        """The main attack on all images that are right when clean; where it left them.

        That is a point of the unit ball for each image, (B, 3, H, W).
        """
        rows, tally, begin = state.correct(), self.tallies[0], time.perf_counter()
        if len(rows) == 0:
            return scene.start
        eps = self.params.epsilon
        runs = run_all(
            scene.take(rows),
            self.referee,
            eps,
            how=self.how,
            lengths=self.lengths,
            restarts=restarts_of(self.params.attack),
            exact=bool(self.params.step_counts),
        )
        state.first_break[rows], state.restart[rows] = runs.first_break, runs.restart
        state.note(rows, runs.ruling, eps, by=MAIN, own=eps)
        state.withstood(rows[~runs.ruling.broken], eps)
        tally.attacked += len(rows)
        tally.broken_alone += int((runs.first_break <= self.how.steps).sum())
        tally.largest = max(tally.largest, runs.largest)
        tally.seconds += time.perf_counter() - begin
        return scene.start.index_copy(0, rows, runs.direction(scene.x[rows], eps))

    def _further(self, scene: Scene, state: ChunkState, entry: Entry, number: int) -> None:
        """One row's attack on the images that stand, or on all that are right when clean."""
        tally, begin, eps = self.tallies[number - 1], time.perf_counter(), self.params.epsilon
        tally.attacked += len(state.standing())
        rows = state.correct() if entry.sees_all else state.standing()
        if len(rows) == 0:
            return
        part = scene.take(rows)
        returned = further.attack(entry, part)
        ruling = self.referee.rule(part.x, returned.x_adv, part.y, eps, returned.claimed)
        if entry.method is Method.FGSM:
            survived = state.first_break[rows] > self.lengths[-1]
            self.only_fgsm += int((ruling.broken & survived).sum())
        elif entry.method is Method.SQUARE and entry.sees_all:
            assert returned.first_break is not None
            needed = returned.first_break.where(ruling.broken, self.params.queries + 1)
            state.queries[rows] = needed
        state.note(rows, ruling, eps, by=number, own=eps)
        tally.broken_alone += int(ruling.broken.sum())
        tally.largest = max(tally.largest, ruling.largest)
        tally.seconds += time.perf_counter() - begin

    def _climb(
        self, phase: Phase, scene: Scene, state: ChunkState, start: Tensor, *, beyond: bool
    ) -> None:
        """The budgets below that of the threat model, or those beyond it."""
        budgets = self._budgets(beyond)
        climb(scene, self.referee, state, budgets, start, lambda eps: phase(self._at(eps)))

    def _look(self, phase: Phase, chunk: Chunk, scene: Scene, state: ChunkState) -> None:
        rows = state.correct()
        masks = None if chunk.masks is None else chunk.masks[rows]
        if self.params.attention:
            with phase(_ATTENTION):
                self.attention.add(scene.take(rows), masks)
        if self.params.corruptions:
            with phase(_CORRUPTIONS):
                self.corruptions.add(scene)

    def _budgets(self, beyond: bool) -> list[float]:
        own, budgets = self.params.epsilon, self.params.epsilons
        return [eps for eps in budgets if (eps > own if beyond else 0 < eps < own)]

    def _at(self, eps: float) -> str:
        return f"ε = {format_255(eps) if self.params.attack.norm is Norm.LINF else f'{eps:g}'}"

    def _costs(self) -> dict[str, float]:
        attack, goal = self.params.attack, self.params.attack.goal
        aims = len(self.classes) - 1 if goal is Goal.ALL_CLASSES else 1
        runs = restarts_of(attack) * aims
        costs = {_CLEAN: 1.0, self.entries[0].title: float(sum(self.lengths) * runs)}
        for eps in self._budgets(beyond=False) + self._budgets(beyond=True):
            costs[self._at(eps)] = self.how.steps * runs
        costs |= {entry.title: entry.passes for entry in self.entries[1:]}
        if self.params.minimal_epsilon:
            costs[_MINIMAL] = halvings(self.params) * self.how.steps * runs
        costs[_ATTENTION], costs[_CORRUPTIONS] = self.attention.passes, self.corruptions.passes
        return costs

    def _phases(self, meter: Meter, chunk: Chunk) -> Phase:
        def phase(name: str) -> AbstractContextManager[None]:
            title = f"{self.subject.name}: {name}"
            return meter.stage(title, self.costs[name] * len(chunk.numbers))

        return phase
