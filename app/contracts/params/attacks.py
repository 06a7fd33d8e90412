"""The parameters of the first attack, which draws an evaluation's curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import model_validator

from app.contracts.attacks import FIRST, Goal, Method, Norm
from app.contracts.complaints import invalid
from app.contracts.params.base import Finite, Params, parameter
from app.contracts.units import format_255, from_255

MAX_LINF = from_255(64)
MAX_L2 = 10.0
MAX_L1 = 500.0


MAX_OF: Mapping[Norm, float] = {Norm.LINF: MAX_LINF, Norm.L2: MAX_L2, Norm.L1: MAX_L1}


LIMITS = f"At most {format_255(MAX_LINF)} in L∞, {MAX_L2:g} in L2 and {MAX_L1:g} in L1 as lengths."
"""The largest budgets in words."""


class Attack(Params):
    """How images are attacked, step by step; the budget is given by the job."""

    method: Method = parameter(
        Method.PGD,
        title="Attack",
        only=FIRST,
        help="An attack of steps inside the budget; or `square`, which asks for scores alone: the "
        "one for black boxes.",
    )
    norm: Norm = parameter(
        Norm.LINF, title="Norm", help="How the size of a perturbation is measured.",
        group="Threat model",
    )  # fmt: skip
    steps: int = parameter(
        20, title="Steps", help="Steps of the attack; FGSM takes one.", ge=1, le=1000
    )
    relative_step: Finite = parameter(
        0.25,
        title="Step size",
        unit="of ε",
        help="One step as a share of the budget: 0.25 is 2/255 at 8/255. APGD chooses its own.",
        gt=0,
        le=2,
    )
    random_start: bool = parameter(
        True,
        title="Random start",
        help="Start at a random point of the ball, not at the image. FGSM and BIM never do.",
    )
    restarts: int = parameter(
        1, title="Restarts", ge=1, le=100,
        help="Random starts that are tried; an image counts as robust if it withstands all. One "
        "without a random start.",
    )  # fmt: skip
    goal: Goal = parameter(Goal.UNTARGETED, title="Goal", help="What the attack tries to reach.")
    target_class: str | None = parameter(
        None, title="Target class", help="The class to reach, for the goal `class`.", max_length=200
    )

    def longer_runs(self, step_counts: Sequence[int]) -> tuple[int, ...]:
        """Steps beyond its own to which an evaluation carries it on, rising: to the counts of its
        curve, and to twice its own, where accuracy should have settled. None for one step.
        """
        if not self.method.record.takes_steps:
            return ()
        further = (count for count in step_counts if count > self.steps)
        return tuple(sorted({2 * self.steps, *further}))

    @property
    def crosses(self) -> bool:
        """Whether its steps, one after the other, reach the far side of the ball from their start.

        From a random start that is two radii away at most, from the image one. Attacks without a
        step size to choose do: one step of FGSM is a radius.
        """
        record = self.method.record
        if record.one_step or record.own_step_size:
            return True
        radii = 2 if record.random_start and self.random_start else 1
        return self.steps * self.relative_step >= radii

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        record = self.method.record
        if not record.can_be_first:
            known = ", ".join(FIRST)
            raise invalid("method", f"one of {known}; others go among further attacks")
        if self.norm not in record.norms:
            raise invalid("norm", f"{self.method} is not defined in {self.norm}")
        if self.goal is not Goal.UNTARGETED and not record.targetable:
            raise invalid("goal", f"{self.method} only leaves the true class")
        if (self.goal is Goal.CLASS) != (self.target_class is not None):
            raise invalid("target_class", "belongs to the goal `class`, which needs it")
        return self


def within_norm(norm: Norm, name: str, value: float) -> None:
    """Raises `invalid` at the field `name` where a budget is beyond what the norm allows."""
    limit = MAX_OF[norm]
    if value > limit:
        shown = format_255(limit) if norm is Norm.LINF else f"{limit:g}"
        raise invalid(name, f"at most {shown} in this norm; 8/255 is written `8/255` or 0.03137")
