"""The main attack: every restart, every class to reach, and what is left of each image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.contracts.params import Attack, Method
from worker.attacks import Budget, FirstBreak, Steps, walk
from worker.evaluation.referee import Referee, Ruling
from worker.evaluation.subject import Scene

_SCHEDULED = (Method.APGD_CE, Method.APGD_DLR)
"""What these do in a step depends on how many there will be: a longer run is another run."""


def lengths_of(attack: Attack, step_counts: Sequence[int]) -> tuple[int, ...]:
    """Steps of the runs at the budget of the threat model, rising.

    They reach every count that is asked for, and twice the attack's steps, where accuracy should
    have settled. FGSM has one step.
    """
    if attack.method is Method.FGSM:
        return (1,)
    longer = {2 * attack.steps, *(count for count in step_counts if count > attack.steps)}
    if attack.method in _SCHEDULED:
        return (attack.steps, *sorted(longer))
    return (max(longer),)


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


class Runs:
    """What came of an attack on M images, over all of its runs."""

    def __init__(self, scene: Scene, *, longest: int, steps: int, restarts: int) -> None:
        """Before the first run; `steps` are the attack's own."""
        self._steps, self._never, self._begun = steps, longest + 1, False
        self.x_adv = scene.x.clone()
        """(M, 3, H, W): the example that broke it, else what the first run left of it."""
        self.first_break = torch.full_like(scene.y, self._never)
        """(M,): the fewest steps that broke it in any run, from 1; longest + 1: none did."""
        self.restart = torch.full_like(scene.y, restarts)
        """(M,): the first restart that broke it within the attack's own steps, from 0; `restarts`:
        none did."""
        self.ruling = Ruling(
            torch.zeros_like(scene.y, dtype=torch.bool),
            scene.y.clone(),
            torch.zeros_like(scene.y, dtype=torch.float64),
        )
        """The referee's, on `x_adv`."""
        self.largest = 0.0
        """The largest finite norm of all that was returned."""

    def standing(self, steps: int) -> Tensor:
        """Images that no run broke within so many steps: their places, (M',)."""
        return (self.first_break > steps).nonzero().squeeze(1)

    def direction(self, x: Tensor, eps: Budget) -> Tensor:
        """Where the attack left the images x with its budget, as points of the unit ball."""
        budget = eps.to(x)[:, None, None, None] if isinstance(eps, Tensor) else eps
        return ((self.x_adv - x) / budget).nan_to_num()

    def add(self, rows: Tensor, trial: _Trial, found: FirstBreak, ruling: Ruling) -> None:
        """Take in a run on the images at `rows`, (M',)."""
        step = found.first_break.clamp(trial.earliest, trial.how.steps)
        step = torch.where(ruling.broken, step, self._never)
        self.first_break[rows] = self.first_break[rows].minimum(step)
        first = torch.where(step <= self._steps, trial.restart, self.restart[rows])
        self.restart[rows] = self.restart[rows].minimum(first)
        news = ~self.ruling.broken[rows] & (ruling.broken | (not self._begun))
        self.x_adv[rows[news]] = found.x_adv[news]
        for mine, other in zip(self.ruling, ruling, strict=True):
            mine[rows[news]] = other[news]
        self.largest = max(self.largest, ruling.largest)
        self._begun = True


def run_all(
    scene: Scene,
    referee: Referee,
    eps: Budget,
    *,
    how: Steps,
    lengths: Sequence[int],
    restarts: int = 1,
    exact: bool = False,
) -> Runs:
    """Attack images in runs: every restart towards every class, then the same with longer runs.

    An image leaves once a run has broken it within `how.steps`. If `exact`, it stays as long as
    other runs may break it in fewer steps, so that `first_break` holds for every number of steps.

    Args:
        eps: the budget; a number, or (M,) for one per image.
        lengths: steps of the runs, rising; a longer one takes the images that shorter ones left.
    """
    runs = Runs(scene, longest=lengths[-1], steps=how.steps, restarts=restarts)
    for trial in _trials(scene, how, lengths, restarts, exact):
        rows = runs.standing(trial.leave_at)
        if len(rows) == 0:
            continue
        part, budget = scene.take(rows), eps[rows] if isinstance(eps, Tensor) else eps
        found = walk(
            part.subject.call,
            part.x,
            part.y,
            how=trial.how,
            eps=budget,
            norm=part.norm,
            noise=part.noise(trial.restart) if how.random_start else None,
            target=None if trial.target is None else trial.target[rows],
        )
        claimed = found.first_break <= trial.how.steps
        ruling = referee.rule(part.x, found.x_adv, part.y, budget, claimed)
        runs.add(rows, trial, found, ruling)
    return runs


def _trials(
    scene: Scene, how: Steps, lengths: Sequence[int], restarts: int, exact: bool
) -> Iterator[_Trial]:
    targets = (None,) if scene.targets is None else scene.targets.unbind(dim=1)
    for shorter, steps in zip((0, *lengths), lengths, strict=False):
        leave_at = steps if shorter else (1 if exact else how.steps)
        for restart, target in itertools.product(range(restarts), targets):
            yield _Trial(how._replace(steps=steps), restart, target, leave_at, shorter + 1)
