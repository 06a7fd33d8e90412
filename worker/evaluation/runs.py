"""The main attack: every restart, every class to reach, and what is left of each image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Attack, EvaluateParams
from worker.attacks import Budget, FirstBreak, Steps, iterate
from worker.evaluation.attacks import CRAFT, restarts_of, steps_of
from worker.evaluation.success import Success, SuccessCheck
from worker.evaluation.target import AttackBatch


def length_of(params: EvaluateParams) -> int:
    """Steps of the main attack with its budget, or queries of one that only asks."""
    attack = params.attack
    return steps_of(attack).steps if attack.method.record.iterative else params.queries


def lengths_of(attack: Attack, step_counts: Sequence[int]) -> tuple[int, ...]:
    """Steps of the runs at the budget of the threat model, rising.

    They reach every count that is asked for, and twice the attack's steps, where accuracy should
    have settled. FGSM has one step; what only asks has no steps.
    """
    if not attack.method.record.iterative:
        return ()
    if attack.method.record.one_step:
        return (1,)
    longer = attack.longer_runs(step_counts)
    if attack.method.record.own_step_size:  # a longer run is another run
        return (attack.steps, *longer)
    return longer[-1:]


class _Trial(NamedTuple):
    """One run."""

    how: Steps
    restart: int
    target: Tensor | None
    """The class to reach for each image, (M,)."""
    leave_at: int
    """Images take no part that broke within so many steps."""
    earliest: int
    """The number of steps at which an image that breaks is known to break."""

    def first_break(self, found: FirstBreak) -> Tensor:
        """Steps after which images broke, as far as it is known."""
        return found.first_break.clamp(self.earliest, self.how.steps)


class Runs:
    """What came of an attack on M images, over all of its runs."""

    def __init__(self, batch: AttackBatch, *, longest: int, steps: int, restarts: int) -> None:
        """Before the first run; `steps` are the attack's own."""
        self._steps, self._never, self._begun = steps, longest + 1, False
        self.first_break = torch.full_like(batch.y, self._never)
        """(M,): the fewest steps that broke it in any run, from 1; longest + 1: none did."""
        self.restart = torch.full_like(batch.y, restarts)
        """(M,): the first restart that broke it within the attack's own steps, from 0; `restarts`:
        none did."""
        self.success = Success(
            torch.zeros_like(batch.y, dtype=torch.bool),
            batch.y.clone(),
            torch.zeros_like(batch.y, dtype=torch.float64),
            batch.x.clone(),
        )
        """The success_check's, on the example that broke it, else on what the first run left."""
        self.largest = 0.0
        """The largest finite norm of all that was returned."""

    def standing(self, steps: int) -> Tensor:
        """Images that no run broke within so many steps: their places, (M',)."""
        return (self.first_break > steps).nonzero().squeeze(1)

    def direction(self, x: Tensor, eps: Budget) -> Tensor:
        """Where the attack left the images x with its budget, as points of the unit ball."""
        budget = eps.to(x)[:, None, None, None] if isinstance(eps, Tensor) else eps
        return ((self.success.x_adv - x) / budget).nan_to_num()

    def add(self, rows: Tensor, restart: int, first_break: Tensor, success: Success) -> None:
        """Take in a run on the images at `rows`, (M',), after how many steps it breaks them."""
        step = torch.where(success.broken, first_break, self._never)
        self.first_break[rows] = self.first_break[rows].minimum(step)
        first = torch.where(step <= self._steps, restart, self.restart[rows])
        self.restart[rows] = self.restart[rows].minimum(first)
        news = ~self.success.broken[rows] & (success.broken | (not self._begun))
        for mine, other in zip(self.success, success, strict=True):
            mine[rows[news]] = other[news]
        self.largest = max(self.largest, success.largest)
        self._begun = True


def run_all(
    batch: AttackBatch,
    success_check: SuccessCheck,
    eps: Budget,
    *,
    lengths: Sequence[int] = (),
    exact: bool = False,
) -> Runs:
    """The main attack on images that are right when clean, with a budget.

    Args:
        eps: the budget; a number, or for an attack of steps (M,), one per image.
        lengths, exact: as in `_in_steps`; without lengths one run of the attack's own.
    """
    if not batch.params.attack.method.record.iterative:
        assert not isinstance(eps, Tensor)
        return _by_asking(batch, success_check, eps)
    return _in_steps(batch, success_check, eps, lengths=lengths, exact=exact)


def _by_asking(batch: AttackBatch, success_check: SuccessCheck, eps: float) -> Runs:
    """One run of an attack that counts its queries; they stand where else steps do."""
    queries = batch.params.queries
    runs = Runs(batch, longest=queries, steps=queries, restarts=1)
    found = CRAFT[batch.params.attack.method].run(batch.within(eps))
    assert found.first_break is not None
    success = success_check(batch.x, found.x_adv, batch.y, eps, found.claimed)
    every = torch.arange(len(batch), device=batch.y.device)
    runs.add(every, 0, found.first_break.clamp(1, queries), success)
    return runs


def _in_steps(
    batch: AttackBatch,
    success_check: SuccessCheck,
    eps: Budget,
    *,
    lengths: Sequence[int],
    exact: bool,
) -> Runs:
    """Attack images in runs: every restart towards every class, then the same with longer runs.

    One image leaves once a run has broken it within the attack's own steps. If `exact`, it stays as
    long as other runs may break it in fewer steps, so that `first_break` holds for every number of
    steps.

    Args:
        lengths: steps of the runs, rising; a longer one takes the images that shorter ones left.
    """
    how, restarts = steps_of(batch.params.attack), restarts_of(batch.params.attack)
    lengths = lengths or (how.steps,)
    runs = Runs(batch, longest=lengths[-1], steps=how.steps, restarts=restarts)
    for trial in _trials(batch, how, lengths, restarts, exact):
        rows = runs.standing(trial.leave_at)
        if len(rows) == 0:
            continue
        part, budget = batch.take(rows), eps[rows] if isinstance(eps, Tensor) else eps
        found = iterate(
            part.target_model.call,
            part.x,
            part.y,
            how=trial.how,
            eps=budget,
            norm=part.norm,
            noise=part.noise(trial.restart) if how.random_start else None,
            target=None if trial.target is None else trial.target[rows],
            known_right=True,
        )
        claimed = found.first_break <= trial.how.steps
        success = success_check(part.x, found.x_adv, part.y, budget, claimed)
        runs.add(rows, trial.restart, trial.first_break(found), success)
    return runs


def _trials(
    batch: AttackBatch, how: Steps, lengths: Sequence[int], restarts: int, exact: bool
) -> Iterator[_Trial]:
    targets = (None,) if batch.targets is None else batch.targets.unbind(dim=1)
    for shorter, steps in zip((0, *lengths), lengths, strict=False):
        leave_at = steps if shorter else (1 if exact else how.steps)
        for restart, target in itertools.product(range(restarts), targets):
            yield _Trial(how._replace(steps=steps), restart, target, leave_at, shorter + 1)
