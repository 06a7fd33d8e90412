"""Plain attacks on every image of an evaluation, with nothing reused and nothing left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from app.contracts.params import EvaluateParams, Goal, Method, Norm
from tests.jobs.measured import Measured, gradient
from worker.evaluation.arguments import unit_noise
from worker.models import Classifier


class Naive:
    """Attacks every image with one budget on its own, step by step, with nothing reused."""

    def __init__(self, measured: Measured, params: EvaluateParams, model: Classifier) -> None:
        test = measured.dataset.split("test")
        self.target = None
        if params.attack.goal is Goal.CLASS:
            self.target = measured.dataset.class_names.index(str(params.attack.target_class))
            test = replace(test, indices=np.flatnonzero(test.labels != self.target))
        sample = test.sample(min(params.images, len(test)), seed=params.seed)
        self.params, self.attack, self.model = params, params.attack, model
        self.numbers = sample.indices.tolist()
        self.x, self.y = sample.to("cpu").batch(torch.arange(len(sample)))
        self.logits = model(self.x)
        self.right = self.logits.argmax(1) == self.y

    def aims(self) -> list[tuple[Tensor, float]]:
        """The classes whose loss each run follows, and in which direction."""
        goal = self.attack.goal
        if goal is Goal.UNTARGETED:
            return [(self.y, 1.0)]
        if goal is Goal.CLASS:
            return [(torch.full_like(self.y, self.target), -1.0)]
        wrong = self.logits.clone()
        wrong[torch.arange(len(self.y)), self.y] = -torch.inf
        falling = wrong.argsort(dim=1, descending=True)
        ranks = 1 if goal is Goal.MOST_CONFUSING else 9
        return [(falling[:, rank], -1.0) for rank in range(ranks)]

    def first_wrong(
        self, eps: float, steps: int, *, restarts: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """The step that first breaks each image in any run, (n,); steps + 1: none does.

        Leaves in `reached` where the first run ended, as points of the unit ball; the first restart
        may start at such a point.
        """
        first = torch.full_like(self.y, steps + 1)
        fgsm = self.attack.method is Method.FGSM
        for restart in range(restarts or self.attack.restarts):
            norm, seed = self.attack.norm.value, self.params.seed
            noise = unit_noise(self.x, norm, seed, self.numbers, restart=restart)
            if restart == 0 and start is not None:
                noise = start
            begin = self.x if fgsm else (self.x + eps * noise).clamp(0, 1)
            length = eps if fgsm else self.attack.relative_step * eps
            for rank, (aim, sign) in enumerate(self.aims()):
                found, last = self._run(begin, aim, eps, sign * length, 1 if fgsm else steps)
                first = first.minimum(found)
                if restart == rank == 0:
                    self.reached = (last - self.x) / eps
        return torch.where(self.right, first, 0)

    def fgsm(self) -> Tensor:
        """Images that one step of the whole budget breaks, towards any of the aims."""
        eps = self.params.epsilon
        runs = [self._run(self.x, aim, eps, sign * eps, 1)[0] for aim, sign in self.aims()]
        return torch.stack(runs).amin(dim=0) == 1

    def _run(
        self, x_adv: Tensor, aim: Tensor, eps: float, stride: float, steps: int
    ) -> tuple[Tensor, Tensor]:
        first = torch.full_like(self.y, steps + 1)
        for step in range(1, steps + 1):
            if step == 1:
                first[self._wrong(x_adv)] = 1
            x_adv = self._project(x_adv + stride * self._unit(x_adv, aim), eps)
            first = torch.where(self._wrong(x_adv), first.clamp(max=step), first)
        return first, x_adv

    def _wrong(self, x: Tensor) -> Tensor:
        wrong: Tensor = self.model(x).argmax(1) != self.y
        return wrong

    def _unit(self, x_adv: Tensor, aim: Tensor) -> Tensor:
        ascent = gradient(self.model, x_adv, aim)
        if self.attack.norm is Norm.LINF:
            return ascent.sign()
        length: Tensor = ascent.flatten(1).norm(dim=1)[:, None, None, None]
        return ascent / length

    def _project(self, moved: Tensor, eps: float) -> Tensor:
        delta = moved - self.x
        if self.attack.norm is Norm.LINF:
            delta = delta.clamp(-eps, eps)
        else:
            length = delta.flatten(1).norm(dim=1)[:, None, None, None]
            delta = delta * (eps / length).clamp(max=1)
        return (self.x + delta).clamp(0, 1)

    def longest(self) -> int:
        """Steps of the run at the budget of the threat model."""
        if self.attack.method is Method.FGSM:
            return 1
        return max(2 * self.attack.steps, *self.params.step_counts)

    def epsilon_curve(self) -> list[int]:
        """Images that stand at a budget, at all smaller ones, and all attacks at their own.

        Each budget starts where the one before ended, be it on the curve or the threat model's.
        """
        steps, own = 1 if self.attack.method is Method.FGSM else self.attack.steps, self.longest()
        fallen, correct, start = ~self.right, [], None
        at_own = self.first_wrong(self.params.epsilon, own) <= own
        of_own = self.reached
        for eps in self.params.epsilons:
            if 0 < eps < self.params.epsilon:
                fallen = fallen | (self.first_wrong(eps, steps, start=start) <= steps)
                start = self.reached
            if eps >= self.params.epsilon:
                fallen = fallen | at_own | self.fgsm()
            if eps > self.params.epsilon:
                fallen = fallen | (self.first_wrong(eps, steps, start=of_own) <= steps)
                of_own = self.reached
            correct.append(int((~fallen).sum()))
        return correct

    def steps_curve(self) -> list[int]:
        if self.attack.method is Method.FGSM:
            return []
        first = self.first_wrong(self.params.epsilon, self.longest())
        return [int((first > count).sum()) for count in self.params.step_counts]

    def restarts_curve(self) -> list[int]:
        if self.attack.restarts == 1:
            return []
        eps, steps = self.params.epsilon, self.attack.steps
        return [
            int((self.first_wrong(eps, steps, restarts=count) > steps).sum())
            for count in range(1, self.attack.restarts + 1)
        ]
