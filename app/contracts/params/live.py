"""The parameters of a live attack."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from app.contracts.options import Option
from app.contracts.params.attacks import MAX_L2, Attack, within_norm
from app.contracts.params.base import Id, Params, Seed, parameter
from app.contracts.units import Intensity, from_255


class CraftedOn(Option):
    STUDENT = "student"
    TEACHER = "teacher"


LIVE_LEVELS = 17
"""Positions of the live view's slider, from 0 to the largest budget."""


def _live_attack() -> Attack:
    return Attack(steps=10)


class ExplainParams(Params):
    """Attack one uploaded image at every budget of the slider."""

    upload: Id = parameter(title="Image", help="The uploaded image.")
    teacher: Id = parameter(title="Teacher", help="The model trained on clean images.")
    student: Id = parameter(title="Student", help="The model trained to resist.")
    attack: Attack = parameter(_live_attack, title="Attack", help="The same for every budget.")
    max_epsilon: Intensity = parameter(
        from_255(16), title="Largest budget ε", unit="/255", gt=0, le=MAX_L2,
        help="The right end of the slider.",
    )  # fmt: skip
    crafted_on: CraftedOn = parameter(
        CraftedOn.STUDENT,
        title="Attacked model",
        help="White-box for this model; for the other one the same image is a transfer attack.",
    )
    label: str | None = parameter(
        None, title="True class", max_length=200,
        help="What the image shows; left empty, what the teacher sees in the clean image.",
    )  # fmt: skip
    seed: Seed = parameter(0, title="Seed", help="Seeds the random start.")

    @model_validator(mode="after")
    def _budget_fits_norm(self) -> Self:
        within_norm(self.attack.norm, "max_epsilon", self.max_epsilon)
        return self
