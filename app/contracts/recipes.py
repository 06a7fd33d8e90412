"""What is known of every recipe: one record each. Forms, checks, charts and words derive from it.

What a recipe computes stands in its file of `worker.recipes`, and in `docs/training.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from app.contracts.options import Option, Record

_ATTACK = frozenset({"epsilon", "step_size", "steps", "awp_gamma", "awp_warmup"})
_LABELS = frozenset({"label_smoothing"})
_DIRECTION = frozenset({"direction"})
_METHOD = _ATTACK | _LABELS | {"mart", "mart_beta"}
_TRIPLET = frozenset({"bml_weight", "margin", "mu"})


@dataclass(frozen=True, kw_only=True)
class RecipeRecord(Record):
    """One recipe."""

    parameters: frozenset[str]
    """Of the parameters that only some recipes read, those that it reads; it ignores the rest."""
    attacked: int = 1
    """Images that a step attacks, of each of the batch's."""
    seen: int = 1
    """Images that the student then learns from, of each of the batch's."""
    label_smoothing: float = 0.0
    """What its authors train with: the default of the parameter."""
    hue: str
    """Its colour in every chart that compares recipes, `#rrggbb`; see `app.web.charts.palette`."""
    robust: bool = True
    """Whether it trains on adversarial images."""
    teacher: Literal["none", "weights", "attention", "predictions"] = "weights"
    """What it takes from a teacher: a student of all but `none` may start from its weights, and one
    that looks at its attention or its predictions has to have one."""
    robust_teacher: bool = False
    """Whether its teacher has to be robust itself."""


class Recipe(Option):
    """Every way to train, by the name that papers use."""

    record: RecipeRecord

    CLEAN = "clean", RecipeRecord(
        title="Clean", summary="Cross-entropy on clean images: undefended, the teacher.",
        parameters=_LABELS, label_smoothing=0.5, hue="#2f7ebc",
        attacked=0, robust=False, teacher="none",
    )  # fmt: skip
    PGD_AT = "pgd_at", RecipeRecord(
        title="PGD-AT", summary="Cross-entropy on adversarial images.",
        source="Madry et al., ICLR 2018",
        parameters=_ATTACK | _LABELS | _DIRECTION, hue="#8a63d2",
    )  # fmt: skip
    TRADES = "trades", RecipeRecord(
        title="TRADES",
        summary="Cross-entropy on clean images, and how far predictions move under attack.",
        source="Zhang et al., ICML 2019",
        parameters=_ATTACK | _LABELS | {"trades_beta"}, seen=2, hue="#2c8f5a",
    )  # fmt: skip
    MART = "mart", RecipeRecord(
        title="MART", summary="Adversarial training that weighs misclassified images more.",
        source="Wang et al., ICLR 2020",
        parameters=_ATTACK | _LABELS | _DIRECTION | {"mart_beta"}, seen=2, hue="#c9518f",
    )  # fmt: skip
    RSLAD = "rslad", RecipeRecord(
        title="RSLAD", summary="A robust teacher's predictions in place of all labels.",
        source="Zi et al., ICCV 2021",
        parameters=_ATTACK, seen=2, hue="#5f6f8c", teacher="predictions", robust_teacher=True,
    )  # fmt: skip
    SML = "sml", RecipeRecord(
        title="SML",
        summary="Metric learning with the forward example only, the one-way control of BML.",
        source="Wang et al., ICCV 2021",
        parameters=_METHOD | _TRIPLET, seen=3, label_smoothing=0.5, hue="#138a96",
    )  # fmt: skip
    AGKD = "agkd", RecipeRecord(
        title="AGKD",
        summary="Attention guided knowledge distillation alone, to look where the teacher looks.",
        source="Wang et al., ICCV 2021",
        parameters=_METHOD | {"agkd_weight"}, attacked=2, seen=3, label_smoothing=0.5,
        hue="#8f7d1a", teacher="attention",
    )  # fmt: skip
    BML = "bml", RecipeRecord(
        title="BML", summary="Bi-directional metric learning alone.",
        source="Wang et al., ICCV 2021",
        parameters=_METHOD | _TRIPLET, attacked=2, seen=3, label_smoothing=0.5, hue="#a1644a",
    )  # fmt: skip
    AGKD_BML = "agkd_bml", RecipeRecord(
        title="AGKD-BML", summary="The whole method; with 7 attack steps it is AGKD-BML-7.",
        source="Wang et al., ICCV 2021",
        parameters=_METHOD | _TRIPLET | {"agkd_weight"}, attacked=2, seen=3,
        label_smoothing=0.5, hue="#d4650f", teacher="attention",
    )  # fmt: skip

    @classmethod
    def known(cls, stored: Any) -> Recipe | None:
        """The recipe that a row names; None where none is called so, or not any more."""
        try:
            return cls(stored)
        except ValueError:
            return None

    def called(self, steps: int) -> str:
        """As papers call it with so many attack steps: `TRADES`, `AGKD-BML-7`."""
        is_the_short_one = self is Recipe.AGKD_BML and steps == 7
        return "AGKD-BML-7" if is_the_short_one else self.record.title

    @property
    def is_robust(self) -> bool:
        """Whether it trains on adversarial images."""
        return self.record.robust

    @property
    def is_teacher(self) -> bool:
        """Whether its models are the method's teachers: undefended, trained on clean images."""
        return not self.record.robust

    @property
    def compares_attention(self) -> bool:
        """Whether attention maps of student and teacher have to be of one size."""
        return self.record.teacher == "attention"

    @property
    def needs_teacher(self) -> bool:
        """Whether its loss looks at a teacher."""
        return self.record.teacher in ("attention", "predictions")


TEACHERS = tuple(recipe for recipe in Recipe if recipe.is_teacher)
"""Those whose models teach."""
ROBUST = tuple(recipe for recipe in Recipe if recipe.is_robust)
"""Those whose models train on adversarial images."""

READ_BY_SOME = frozenset().union(*(recipe.record.parameters for recipe in Recipe))
"""The parameters of a training that not every recipe reads."""
