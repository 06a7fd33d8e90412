"""The parameters of a live attack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import model_validator

from app.contracts.attacks import ITERATIVE, Norm
from app.contracts.complaints import invalid
from app.contracts.params.attacks import LIMITS, MAX_OF, Attack, within_norm
from app.contracts.params.base import Id, Params, Seed, parameter
from app.contracts.units import Intensity, from_255

LIVE_LEVELS = 17
"""Positions of the live view's budget slider, from 0 to the largest budget."""
LIVE_ITERATES = 11
"""Positions of its iteration slider at most, the start and the last step among them."""
MOST_MODELS = 9
"""Models of one live attack: as many as there are colours to tell them apart."""
LARGEST_OF: Mapping[Norm, float] = {Norm.LINF: from_255(16), Norm.L2: 1.0, Norm.L1: 24.0}
"""The right end of the budget slider, where nothing else is asked: twice the budget that is usual
in each norm."""


def _live_attack() -> Attack:
    return Attack(steps=10)


class ExplainParams(Params):
    """Attack one uploaded image on every model, at every budget of the slider."""

    upload: Id = parameter(title="Image", help="The uploaded image.")
    models: tuple[Id, ...] = parameter(
        title="Models", min_length=1, max_length=MOST_MODELS,
        help="Models of the same classes. Each is attacked white-box, and looks at the images "
        "that were crafted on the others too. Maps are compared with those of the first.",
    )  # fmt: skip
    attack: Attack = parameter(_live_attack, title="Attack", help="The same for every budget.")
    max_epsilon: Intensity = parameter(
        LARGEST_OF[Norm.LINF], title="Largest budget ε", unit="/255",
        gt=0, le=max(MAX_OF.values()), help=f"The right end of the slider. {LIMITS}",
    )  # fmt: skip
    label: str | None = parameter(
        None, title="True class", max_length=200,
        help="What the image shows. Left empty, each model is led away from what it says of the "
        "clean image, and nothing is called right or wrong.",
    )  # fmt: skip
    seed: Seed = parameter(0, title="Seed", help="Seeds the random start.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if len(set(self.models)) < len(self.models):
            raise invalid("models", "each one once")
        if not self.attack.method.record.iterative:
            raise invalid("method", f"one of {', '.join(ITERATIVE)}")
        within_norm(self.attack.norm, "max_epsilon", self.max_epsilon)
        return self
