"""What is known of every attack: one record a method. Forms, checks and words derive from it.

What an attack computes stands in its file of `worker.attacks`, and how an evaluation runs it in its
row of `worker.evaluation.attacks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.contracts.access import Access, Need
from app.contracts.options import Option, Record


class Norm(Option):
    """How the size of a perturbation is measured."""

    LINF = "linf", Record(title="L∞", summary="The largest change of any pixel.")
    L2 = "l2", Record(title="L2", summary="The Euclidean length of the change.")
    L1 = (
        "l1",
        Record(title="L1", summary="The sum of all changes; few attacks know it."),
    )


@dataclass(frozen=True, kw_only=True)
class GoalRecord(Record):
    """One goal."""

    way: str
    """Where it leads, after `the attack goes`; `{}` is the named class."""


class Goal(Option):
    """What an attack tries to reach."""

    record: GoalRecord

    UNTARGETED = "untargeted", GoalRecord(
        title="untargeted", summary="Any wrong class.", way="away from the true class",
    )  # fmt: skip
    MOST_CONFUSING = "most_confusing", GoalRecord(
        title="most confusing", way="towards the most confusing class",
        summary="The wrong class that the attacked model finds most likely.",
    )  # fmt: skip
    ALL_CLASSES = "all_classes", GoalRecord(
        title="all classes", way="towards every wrong class in turn",
        summary="Every wrong class in turn, the most likely first.",
    )  # fmt: skip
    CLASS = "class", GoalRecord(
        title="class", summary="One named class.", way="towards “{}”",
    )  # fmt: skip


_LP = frozenset({Norm.LINF, Norm.L2})
_EVERY = frozenset(Norm)


@dataclass(frozen=True, kw_only=True)
class AttackRecord(Record):
    """One method."""

    norms: frozenset[Norm] = _LP
    """Those in which it is defined."""
    iterative: bool = False
    """Takes gradient steps inside a given budget."""
    one_step: bool = False
    """Takes a single step, as long as the budget."""
    random_start: bool = False
    """May start at a random point of the ball, again and again; others start at the image."""
    own_step_size: bool = False
    """Plans its step size for the number of steps: a longer run is another run."""
    targetable: bool = False
    """Can aim at a class; the others only leave the true one."""
    sized_by: Literal["steps", "queries"] | None = None
    """Which parameter of an evaluation says how long it may try; None: its authors did."""
    quoted_alone: bool = False
    """Papers quote the accuracy under it alone, so it sees every image."""
    needs: Need = Need.GRADIENTS
    """What the model under test has to give."""
    query_curve: bool = False
    """Says after how many queries it broke an image, from which a curve is drawn."""
    needs_source: bool = False
    """Is made on another model, which has to be named."""

    @property
    def black_box(self) -> bool:
        """Whether a model that only answers can be attacked."""
        return self.needs in Access.BLACK_BOX.record.gives

    @property
    def can_be_first(self) -> bool:
        """Whether it can be the first attack of an evaluation, which draws the curves."""
        return self.iterative or self.query_curve

    @property
    def takes_steps(self) -> bool:
        """Whether it is carried on step by step, to a number that is chosen."""
        return self.iterative and not self.one_step

    @property
    def parameters(self) -> frozenset[str]:
        """Which of the parameters of an iterative attack it reads, beside norm and goal."""
        read = {
            "steps": self.takes_steps,
            "relative_step": self.takes_steps and not self.own_step_size,
            "random_start": self.random_start,
            "restarts": self.random_start,
        }
        return frozenset(name for name, reads in read.items() if reads)


class Method(Option):
    """Every attack of the lab, by the name that the field uses, in the order in which they run."""

    record: AttackRecord

    FGSM = "fgsm", AttackRecord(
        title="FGSM", summary="One step of size ε.", source="Goodfellow et al., ICLR 2015",
        iterative=True, one_step=True, targetable=True, quoted_alone=True,
    )  # fmt: skip
    BIM = "bim", AttackRecord(
        title="BIM", summary="Steps from the image itself, no random start.",
        source="Kurakin et al., ICLR workshop 2017", iterative=True, targetable=True,
        sized_by="steps",
    )  # fmt: skip
    PGD = "pgd", AttackRecord(
        title="PGD", summary="Projected gradient descent.", source="Madry et al., ICLR 2018",
        iterative=True, random_start=True, targetable=True, sized_by="steps",
    )  # fmt: skip
    MI_FGSM = "mi_fgsm", AttackRecord(
        title="MI-FGSM", summary="Steps along an accumulated gradient.",
        source="Dong et al., CVPR 2018", iterative=True, random_start=True, targetable=True,
        sized_by="steps",
    )  # fmt: skip
    CW = "cw", AttackRecord(
        title="CW", summary="PGD on the margin between logits, the bounded form of the attack.",
        source="Carlini and Wagner, S&P 2017", iterative=True, random_start=True, targetable=True,
        sized_by="steps", quoted_alone=True,
    )  # fmt: skip
    APGD_CE = "apgd_ce", AttackRecord(
        title="APGD-CE", summary="PGD that chooses its own step size, on the cross-entropy.",
        source="Croce and Hein, ICML 2020", norms=_EVERY, iterative=True, random_start=True,
        own_step_size=True, sized_by="steps",
    )  # fmt: skip
    APGD_DLR = "apgd_dlr", AttackRecord(
        title="APGD-DLR",
        summary="The same on the difference of logits ratio, which no scaling of logits can blind.",
        source="Croce and Hein, ICML 2020", norms=_EVERY, iterative=True, random_start=True,
        own_step_size=True, sized_by="steps",
    )  # fmt: skip
    MALT = "malt", AttackRecord(
        title="MALT",
        summary="APGD-T towards the classes whose boundary would be nearest if the model were "
        "linear.",
        source="Melamed et al., NeurIPS 2024", norms=_EVERY, sized_by="steps",
    )  # fmt: skip
    APGD_T = "apgd_t", AttackRecord(
        title="APGD-T", summary="The same towards each of the most likely wrong classes.",
        source="Croce and Hein, ICML 2020", norms=_EVERY, sized_by="steps",
    )  # fmt: skip
    FAB_T = "fab_t", AttackRecord(
        title="FAB-T", summary="Nearest point across the boundary to each class.",
        source="Croce and Hein, ICML 2020", norms=_EVERY, sized_by="steps",
    )  # fmt: skip
    SQUARE = "square", AttackRecord(
        title="Square", summary="Random squares, no gradients.",
        source="Andriushchenko et al., ECCV 2020", norms=_EVERY, sized_by="queries",
        quoted_alone=True, needs=Need.SCORES, query_curve=True,
    )  # fmt: skip
    AUTOATTACK = "autoattack", AttackRecord(
        title="AutoAttack",
        summary="AutoAttack standard: APGD-CE, APGD-T, FAB-T and Square, 100 iterations, 5,000 "
        "queries.",
        source="Croce and Hein, ICML 2020", norms=_EVERY,
    )  # fmt: skip
    CW_L2 = "cw_l2", AttackRecord(
        title="CW-L2", summary="Smallest L2 change by penalty.",
        source="Carlini and Wagner, S&P 2017", norms=frozenset({Norm.L2}),
    )  # fmt: skip
    DEEPFOOL = "deepfool", AttackRecord(
        title="DeepFool", summary="Steps to the nearest linearised boundary.",
        source="Moosavi-Dezfooli et al., CVPR 2016",
    )  # fmt: skip
    HOP_SKIP_JUMP = "hop_skip_jump", AttackRecord(
        title="HopSkipJump", summary="Sees nothing but the predicted class.",
        source="Chen et al., S&P 2020", sized_by="queries", needs=Need.LABELS, query_curve=True,
    )  # fmt: skip
    TRANSFER = "transfer", AttackRecord(
        title="Transfer",
        summary="PGD on another model of the lab: black-box for the model under test.",
        sized_by="steps", needs=Need.LABELS, needs_source=True,
    )  # fmt: skip
    FEATURE = "feature", AttackRecord(
        title="Feature attack",
        summary="Drives the last features away from those of the clean image.", sized_by="steps",
        needs=Need.FEATURES,
    )  # fmt: skip
    ADAPTIVE = "adaptive", AttackRecord(
        title="Adaptive attack",
        summary="PGD on the margin, or on cross-entropy, and on the attention that the method "
        "protects.",
        sized_by="steps", needs=Need.FEATURES,
    )  # fmt: skip
    NOISE = "noise", AttackRecord(
        title="Random noise",
        summary="Ten random points of the ball: a control that no defence should lose to.",
        norms=_EVERY, needs=Need.LABELS,
    )  # fmt: skip


ITERATIVE = tuple(method for method in Method if method.record.iterative)
"""Attacks of gradient steps."""
FIRST = tuple(method for method in Method if method.record.can_be_first)
"""Attacks that can be the first one of an evaluation, and draw the curves."""
BY_QUERIES = tuple(method for method in Method if method.record.sized_by == "queries")
"""Attacks that ask as often as an evaluation lets them."""

VALIDATION_STEPS = 10
VALIDATION_ATTACK = f"{Method.PGD.record.title}-{VALIDATION_STEPS}"
"""What every training attacks its held-out images with."""
