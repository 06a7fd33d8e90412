"""Attacks: their names, what each can do, and the parameters of the one that draws the curves."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from app.contracts.params.base import Finite, Params, invalid, parameter
from app.contracts.units import format_255, from_255

MAX_LINF = from_255(64)
MAX_L2 = 10.0
MAX_L1 = 500.0


class Method(StrEnum):
    """Every attack of the lab, by the name that the field uses."""

    FGSM = "fgsm"
    """One step of size ε (Goodfellow et al., ICLR 2015)."""
    BIM = "bim"
    """Steps from the image itself, no random start (Kurakin et al., ICLR workshop 2017)."""
    PGD = "pgd"
    """Projected gradient descent (Madry et al., ICLR 2018)."""
    MI_FGSM = "mi_fgsm"
    """Steps along an accumulated gradient (Dong et al., CVPR 2018)."""
    CW = "cw"
    """PGD on the margin between logits (Carlini and Wagner, S&P 2017, in its bounded form)."""
    APGD_CE = "apgd_ce"
    """PGD that chooses its own step size, cross-entropy (Croce and Hein, ICML 2020)."""
    APGD_DLR = "apgd_dlr"
    """The same on the difference of logits ratio, which no scaling of logits can blind."""
    APGD_T = "apgd_t"
    """The same towards each of the most likely wrong classes."""
    FAB_T = "fab_t"
    """Nearest point across the boundary to each class (Croce and Hein, ICML 2020)."""
    SQUARE = "square"
    """Random squares, no gradients (Andriushchenko et al., ECCV 2020)."""
    AUTOATTACK = "autoattack"
    """AutoAttack standard: APGD-CE, APGD-T, FAB-T and Square, 100 iterations, 5,000 queries."""
    CW_L2 = "cw_l2"
    """Smallest L2 change by penalty (Carlini and Wagner, S&P 2017)."""
    DEEPFOOL = "deepfool"
    """Steps to the nearest linearised boundary (Moosavi-Dezfooli et al., CVPR 2016)."""
    HOP_SKIP_JUMP = "hop_skip_jump"
    """Sees nothing but the predicted class (Chen et al., S&P 2020)."""
    TRANSFER = "transfer"
    """PGD on another model of the lab: black-box for the model under test."""
    FEATURE = "feature"
    """Drives the last features away from those of the clean image."""
    ADAPTIVE = "adaptive"
    """PGD on the margin, or on cross-entropy, and on the attention that the method protects."""
    NOISE = "noise"
    """Ten random points of the ball: a control that no defence should lose to."""


WALKS = (
    Method.FGSM, Method.BIM, Method.PGD, Method.MI_FGSM, Method.CW, Method.APGD_CE, Method.APGD_DLR,
)  # fmt: skip
"""Attacks that take steps inside a given budget: those that can draw the curves."""


class Norm(StrEnum):
    LINF = "linf"
    """The largest change of any pixel."""
    L2 = "l2"
    """The Euclidean length of the change."""
    L1 = "l1"
    """The sum of all changes; for APGD, FAB, Square and noise."""


MAX_OF: Mapping[Norm, float] = {Norm.LINF: MAX_LINF, Norm.L2: MAX_L2, Norm.L1: MAX_L1}

_LP = frozenset({Norm.LINF, Norm.L2})
_EVERY = frozenset(Norm)
NORMS_OF: Mapping[Method, frozenset[Norm]] = {
    Method.FGSM: _LP,
    Method.BIM: _LP,
    Method.PGD: _LP,
    Method.MI_FGSM: _LP,
    Method.CW: _LP,
    Method.APGD_CE: _EVERY,
    Method.APGD_DLR: _EVERY,
    Method.APGD_T: _EVERY,
    Method.FAB_T: _EVERY,
    Method.SQUARE: _EVERY,
    Method.AUTOATTACK: _EVERY,
    Method.CW_L2: frozenset({Norm.L2}),
    Method.DEEPFOOL: _LP,
    Method.HOP_SKIP_JUMP: _LP,
    Method.TRANSFER: _LP,
    Method.FEATURE: _LP,
    Method.ADAPTIVE: _LP,
    Method.NOISE: _EVERY,
}
"""The norms in which each attack is defined."""


class Goal(StrEnum):
    UNTARGETED = "untargeted"
    """Any wrong class."""
    MOST_CONFUSING = "most_confusing"
    """The wrong class that the attacked model finds most likely."""
    ALL_CLASSES = "all_classes"
    """Every wrong class in turn, the most likely first."""
    CLASS = "class"
    """One named class."""


TARGETABLE = frozenset({Method.FGSM, Method.BIM, Method.PGD, Method.MI_FGSM, Method.CW})
"""Attacks that can aim at a class. The others only leave the true one."""


class Attack(Params):
    """How images are attacked, step by step; the budget is given by the job."""

    method: Method = parameter(
        Method.PGD, title="Attack", help="An attack of steps inside the budget.", only=WALKS
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

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.method not in WALKS:
            raise invalid("method", f"one of {', '.join(WALKS)}; others go among further attacks")
        if self.norm not in NORMS_OF[self.method]:
            raise invalid("norm", f"{self.method} is not defined in {self.norm}")
        if self.goal is not Goal.UNTARGETED and self.method not in TARGETABLE:
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
