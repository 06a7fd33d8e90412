"""The parameters of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from app.contracts.access import Need
from app.contracts.attacks import Goal, Method
from app.contracts.complaints import invalid
from app.contracts.params.attacks import LIMITS, Attack, within_norm
from app.contracts.params.base import (
    DefaultOf,
    Device,
    Finite,
    Id,
    Params,
    Seed,
    device_parameter,
    parameter,
)
from app.contracts.units import Intensity, from_255

ALONG_GRADIENTS = ("minimal_epsilon", "attention", "embedding")
"""Switches of an evaluation that need a first attack of gradient steps."""


def _follows_gradients(given: Mapping[str, Any]) -> bool:
    attack = given.get("attack")
    return attack is None or not attack.method.record.black_box


class EvaluateParams(Params):
    """Measure how robust models are: attacks at one budget, curves, and the evidence for both."""

    models: tuple[Id, ...] = parameter(
        title="Models", help="Models of the same classes, measured on the same images.",
        min_length=1, max_length=8,
    )  # fmt: skip
    dataset: Id = parameter(title="Dataset", help="Its test images are used.")
    images: int = parameter(
        1000, title="Test images", unit="images", ge=1, le=1_000_000,
        help="How many, drawn with the seed; all where there are fewer.",
    )  # fmt: skip
    epsilon: Intensity = parameter(
        from_255(8), title="Budget ε", unit="/255", gt=0, group="Threat model",
        help="The budget of the threat model: every attack is run at it. In L2 and L1, its length "
        f"times 255. {LIMITS}",
    )  # fmt: skip
    attack: Attack = parameter(
        Attack, title="First attack", help="The first attack, which also draws the curves."
    )
    further: tuple[Method, ...] = parameter(
        (), title="Further attacks", max_length=len(Method), group="Further attacks",
        help="At the budget ε, on the images that the attacks before them left standing. Robust "
        "accuracy is the worst case for each image. Published figures need `autoattack`.",
    )  # fmt: skip
    queries: int = parameter(
        1000, title="Queries", ge=10, le=100_000, group="Further attacks", unit="an image",
        help="Of `square` and `hop_skip_jump`, at each budget. AutoAttack always takes 5,000.",
    )  # fmt: skip
    sources: tuple[Id, ...] = parameter(
        (), title="Transfer from", max_length=8, group="Further attacks",
        help="Models that `transfer` attacks in place of the one under test.",
    )  # fmt: skip
    epsilons: tuple[Intensity, ...] = parameter(
        tuple(from_255(n) for n in (0, 1, 2, 4, 8, 12, 16)), title="Budgets ε", unit="/255",
        help="The points of the curve of accuracy against budget.", group="Curves",
        max_length=64,
    )  # fmt: skip
    step_counts: tuple[int, ...] = parameter(
        (1, 2, 5, 10, 20, 50), title="Step counts", unit="steps", max_length=32, group="Curves",
        help="The points of the curve of accuracy against steps.",
    )  # fmt: skip
    minimal_epsilon: bool = parameter(
        DefaultOf(True, _follows_gradients), title="Minimal ε", group="Curves",
        help="Bisect for each image the smallest budget at which the attack breaks it.",
    )  # fmt: skip
    corruptions: bool = parameter(
        False, title="Common corruptions", group="More pictures",
        help="Accuracy on noisy, blurred, bright, pale, pixelated and JPEG-compressed images "
        "(Hendrycks and Dietterich, ICLR 2019), five severities of each.",
    )  # fmt: skip
    attention: bool = parameter(
        DefaultOf(True, _follows_gradients), title="Attention under attack", group="More pictures",
        help="How far each model's attention moves away from the teacher's on clean images.",
    )  # fmt: skip
    embedding: bool = parameter(
        False, title="Feature view", group="More pictures",
        help="Where clean, forward and backward examples lie among the features (PCA and t-SNE).",
    )  # fmt: skip
    keep_adversarial: int = parameter(
        0, title="Adversarial images to keep", unit="images", ge=0, le=10_000,
        group="More pictures",
        help="So many images as the attacks left them, of each model, to be downloaded as arrays "
        "or pictures.",
    )  # fmt: skip
    stop_half_width: Finite | None = parameter(
        None, title="Stop at a band of ±", unit="points", gt=0, le=50, group="Run",
        help="End early once the 95 % interval of robust accuracy is this narrow for every model.",
    )  # fmt: skip
    batch_size: int = parameter(
        250, title="Batch size", unit="images", help="Images attacked at once.", ge=1, le=4096,
        group="Run",
    )  # fmt: skip
    seed: Seed = parameter(
        0, title="Seed", help="Seeds the choice of images and the random starts.", group="Run"
    )
    device: Device = device_parameter()

    def kept_bytes(self, side: int) -> int:
        """What kept images of so many pixels take: 4 bytes a value adversarial, 1 clean."""
        images = min(self.keep_adversarial, self.images)
        return len(self.models) * images * 3 * side**2 * 5

    @property
    def needs(self) -> frozenset[Need]:
        """What every model under test has to give."""
        looks = {Need.FEATURES} if self.attention or self.embedding else set()
        return frozenset({self.attack.method.record.needs, *looks}).union(
            method.record.needs for method in self.further
        )

    @field_validator("minimal_epsilon", "attention", mode="before")
    @classmethod
    def _as_the_first_attack_allows(cls, value: Any, info: ValidationInfo) -> Any:
        return value.within(info.data) if isinstance(value, DefaultOf) else value

    @model_validator(mode="after")
    def _answers_suffice(self) -> Self:
        """After a first attack that only asks, nothing needs more than answers."""
        first = self.attack.method.record
        if not first.black_box:
            return self
        for method in self.further:
            if not method.record.black_box:
                raise invalid(
                    "further",
                    f"{method} needs more than answers; after {self.attack.method} as the first "
                    "attack everything is black-box",
                )
        for name in ALONG_GRADIENTS:
            if getattr(self, name):
                raise invalid(
                    name, f"needs an attack along gradients, and {self.attack.method} is none"
                )
        return self

    @model_validator(mode="after")
    def _curves_are_sound(self) -> Self:
        within_norm(self.attack.norm, "epsilon", self.epsilon)
        for value in self.epsilons:
            within_norm(self.attack.norm, "epsilons", value)
        for name, values in (("epsilons", self.epsilons), ("step_counts", self.step_counts)):
            if list(values) != sorted(set(values)) or any(value < 0 for value in values):
                raise invalid(name, "rising, without repeats, not negative")
        if any(not 1 <= count <= 1000 for count in self.step_counts):
            raise invalid("step_counts", "from 1 to 1000")
        for name in ("models", "further", "sources"):
            members = getattr(self, name)
            if len(set(members)) != len(members):
                raise invalid(name, "each one once")
        return self

    @model_validator(mode="after")
    def _further_attacks_fit(self) -> Self:
        norm = self.attack.norm
        for method in self.further:
            if norm not in method.record.norms:
                raise invalid("further", f"{method} is not defined in {norm}")
            if method.record.needs_source and not self.sources:
                raise invalid("sources", f"`{method}` needs a model to attack")
        if self.further and self.attack.goal is not Goal.UNTARGETED:
            raise invalid("goal", "further attacks are untargeted; so must the first one be")
        return self
