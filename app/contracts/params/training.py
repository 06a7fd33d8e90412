"""The parameters of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from app.contracts.complaints import invalid
from app.contracts.options import Option, Record, in_a_row
from app.contracts.params.architectures import ARCHITECTURE_HELP, Architecture
from app.contracts.params.attacks import MAX_LINF
from app.contracts.params.base import (
    DefaultBy,
    Device,
    Finite,
    Id,
    Name,
    Params,
    Seed,
    device_parameter,
    parameter,
)
from app.contracts.recipes import Recipe, RecipeRecord
from app.contracts.units import Intensity, from_255


class Precision(Option):
    FLOAT32 = "float32", Record(title="float32", summary="Every number has 32 bits.")
    BFLOAT16 = "bfloat16", Record(
        title="bfloat16",
        summary="Convolutions and matrix products in bfloat16 (autocast), weights and losses in "
        "float32.",
    )  # fmt: skip
    AUTO = "auto", Record(
        title="auto", summary="bfloat16 where the processor computes it natively, else float32.",
    )  # fmt: skip


class Schedule(Option):
    MULTISTEP = "multistep"
    COSINE = "cosine"
    ONE_CYCLE = "one_cycle"


class Direction(Option):
    AWAY = "away", Record(title="away from the true class")
    CONFUSING = "confusing", Record(title="towards the most confusing class")


def _titles(which: Callable[[RecipeRecord], bool]) -> str:
    """Recipes as papers call them: `AGKD, BML and AGKD-BML`."""
    return in_a_row([recipe.record.title for recipe in Recipe if which(recipe.record)])


def _values(which: Callable[[RecipeRecord], bool]) -> str:
    """Recipes as the API calls them, each between backticks."""
    return in_a_row([f"`{recipe}`" for recipe in Recipe if which(recipe.record)])


class TrainParams(Params):
    """Train one model. Defaults are those of the authors' released code, for a shorter run."""

    name: Name = parameter(title="Name", help="What the model is called in lists and charts.")
    dataset: Id = parameter(title="Dataset", help="What the model is trained on.")
    recipe: Recipe = parameter(
        Recipe.CLEAN,
        title="Recipe",
        help="How the model learns. `clean` trains an undefended classifier, the teacher; all "
        "others train on adversarial examples.",
    )
    teacher: Id | None = parameter(
        None,
        title="Teacher",
        help="A clean model of the same classes; for "
        f"{_values(lambda record: record.robust_teacher)} a robust one, whose predictions it "
        f"learns. {_values(lambda record: record.teacher == 'attention')} learn where it looks; "
        "other students may start from its weights.",
    )
    architecture: Architecture = parameter(
        "wrn-10-2",
        title="Architecture",
        help=f"{ARCHITECTURE_HELP} WRN-10-2 trains on a CPU; the paper uses WRN-28-10.",
    )
    epochs: int = parameter(
        10, title="Epochs", help="Passes over the training images.", ge=1, le=1000
    )
    batch_size: int = parameter(
        128, title="Batch size", unit="images", help="Images in one step.", ge=8, le=4096
    )
    seed: Seed = parameter(0, title="Seed", help="Seeds weights, order, augmentation and attacks.")
    augment: bool = parameter(
        True, title="Crop and flip", help="Random crop (pad 4) and horizontal flip of each image."
    )

    precision: Precision = parameter(
        Precision.FLOAT32,
        title="Precision",
        help="What training computes in. Robustness is always measured in float32.",
    )

    learning_rate: Finite = parameter(
        0.1, title="Learning rate", help="The highest one of the schedule.", group="Optimiser",
        gt=0, le=10,
    )  # fmt: skip
    momentum: Finite = parameter(
        0.9, title="Momentum", help="Nesterov is off.", group="Optimiser", ge=0, lt=1
    )
    weight_decay: Finite = parameter(
        2e-4, title="Weight decay", help="L2 penalty on every weight.", group="Optimiser",
        ge=0, le=0.1,
    )  # fmt: skip
    schedule: Schedule = parameter(
        Schedule.ONE_CYCLE,
        title="Schedule",
        help="`multistep` divides the rate by ten at each milestone; `cosine` falls to zero; "
        "`one_cycle` rises, then falls: best for short runs.",
        group="Optimiser",
    )
    milestones: tuple[int, ...] = parameter(
        (100, 150),
        title="Milestones",
        unit="epochs",
        help="Where `multistep` divides the learning rate by ten.",
        group="Optimiser",
        max_length=10,
    )
    ema_decay: Finite = parameter(
        0.0, title="Weight averaging (EMA)", group="Optimiser", ge=0, lt=1,
        help="Each step the average keeps this share of itself and takes the rest from the "
        "weights; the average is what is measured and kept. 0 switches it off; 0.999 suits runs of "
        "many thousand steps.",
    )  # fmt: skip
    label_smoothing: Finite = parameter(
        DefaultBy("recipe", {recipe: recipe.record.label_smoothing for recipe in Recipe}),
        title="Label smoothing",
        help="s: the true class is given 1 − s, the other classes share s. The default is "
        "what the authors of the recipe train with.",
        group="Objective",
        ge=0,
        lt=1,
    )

    epsilon: Intensity = parameter(
        from_255(8), title="Perturbation budget ε", unit="/255", group="Adversarial examples",
        help="Largest change of any pixel (L∞) in the student's training examples.",
        gt=0, le=MAX_LINF,
    )  # fmt: skip
    step_size: Intensity = parameter(
        from_255(2), title="Step size", unit="/255", group="Adversarial examples",
        help="How far one attack step moves a pixel.", gt=0, le=MAX_LINF,
    )  # fmt: skip
    steps: int = parameter(
        10, title="Attack steps", group="Adversarial examples", ge=1, le=100,
        help=f"Steps of each attack; {_titles(lambda record: record.attacked > 1)} run two. "
        "AGKD-BML-7 uses 7.",
    )  # fmt: skip
    direction: Direction = parameter(
        Direction.AWAY, title="Direction", group="Adversarial examples",
        help=f"Where the attack of {_titles(lambda record: 'direction' in record.parameters)} "
        "goes. AGKD, BML and their kin always attack towards the most confusing class.",
    )  # fmt: skip
    awp_gamma: Finite = parameter(
        0.0, title="Weight perturbation (AWP) γ", group="Adversarial examples", ge=0, le=0.1,
        help="Each step is taken where the loss is higher: every layer is moved up the loss by γ "
        "of its norm, and moved back after it (Wu et al., NeurIPS 2020). 0 switches it off; the "
        "authors use 0.01 for PGD-AT, 0.005 for TRADES. Costs one more pass over the examples.",
    )  # fmt: skip
    awp_warmup: int = parameter(
        0, title="AWP warm-up", unit="epochs", group="Adversarial examples", ge=0, le=1000,
        help="Epochs before the weights are perturbed; the authors wait 10 of 200 with TRADES.",
    )  # fmt: skip
    agkd_weight: Finite = parameter(
        1.0, title="AGKD weight", group="Objective", ge=0, le=1000,
        help="Weight of the attention distance to the teacher.",
    )  # fmt: skip
    bml_weight: Finite = parameter(
        2.0, title="BML weight λ", group="Objective", ge=0, le=1000,
        help="Weight of the bidirectional triplet loss.",
    )  # fmt: skip
    margin: Finite = parameter(
        0.03, title="Triplet margin m", group="Objective", ge=0, le=2,
        help="How much nearer the clean embedding must be than the backward one.",
    )  # fmt: skip
    mu: Finite = parameter(
        1e-3, title="Embedding penalty μ", group="Objective", ge=0, le=10,
        help="Weight of the embeddings' squared norm inside the triplet loss.",
    )  # fmt: skip
    mart: bool = parameter(
        True, title="MART term", group="Objective",
        help="Adds the misclassification-aware term of Wang et al., ICLR 2020.",
    )  # fmt: skip
    mart_beta: Finite = parameter(
        6.0, title="MART β", group="Objective", ge=0, le=100,
        help="Weight of KL(clean || adversarial) inside the MART term.",
    )  # fmt: skip
    trades_beta: Finite = parameter(
        6.0, title="TRADES β", group="Objective", ge=0, le=100,
        help="Weight of KL(clean || adversarial) in TRADES.",
    )  # fmt: skip
    start_from_teacher: bool = parameter(
        True, title="Start from the teacher", group="Objective",
        help="Initialise the student with the teacher's weights (same architecture only).",
    )  # fmt: skip
    processes: int = parameter(
        1, title="Processes", group="Several GPUs", ge=1, le=64,
        help="On each machine: one for each GPU that the training shall use, or, where there is "
        "none, for a part of the cores. Each takes the same number of every batch's images, and "
        "the model becomes what one process would make of it.",
    )  # fmt: skip
    nodes: int = parameter(
        1, title="Machines", group="Several GPUs", ge=1, le=64,
        help="Several meet at the address in `LAB_RENDEZVOUS`, and run the same command each.",
    )  # fmt: skip
    sync_batch_norm: bool = parameter(
        True, title="Batch norms see whole batches", group="Several GPUs",
        help="Batch norms take their means over the images of all processes, as one process does. "
        "Without it each takes those of its own images: less to exchange, and another model for "
        "each number of processes.",
    )  # fmt: skip
    continue_from: Id | None = parameter(
        None, title="Continue from", group="Resume",
        help="A cancelled or failed training job with the same parameters: go on from its last "
        "checkpoint.",
    )  # fmt: skip
    device: Device = device_parameter()

    @property
    def recipe_name(self) -> str:
        """The recipe as papers call it."""
        return self.recipe.called(self.steps)

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher shapes the model: by where it looks, or by its weights."""
        return self.teacher is not None and (self.recipe.needs_teacher or self.start_from_teacher)

    @property
    def passes(self) -> float:
        """What a step costs for each image of the batch, in forward passes, about: forward and back
        for each attack step, and half as much again where the weights get a gradient."""
        record = self.recipe.record
        learning = 3 * record.seen * (2 if self.perturbs_weights(self.epochs - 1) else 1)
        return 2 * record.attacked * self.steps + learning

    def perturbs_weights(self, epoch: int) -> bool:
        """Whether the steps of an epoch, counted from 0, perturb the weights (AWP)."""
        return self.recipe.is_robust and self.awp_gamma > 0 and epoch >= self.awp_warmup

    @property
    def team(self) -> int:
        """How many processes train together, on all machines."""
        return self.processes * self.nodes

    def continues(self, earlier: Self) -> bool:
        """Whether a run of `earlier` can go on with these: only the name may be another, where it
        runs, and the number of processes, where the model does not depend on it."""
        free = {"name", "continue_from", "device"}
        if self.sync_batch_norm:
            free |= {"processes", "nodes"}
        return self.model_dump(exclude=free) == earlier.model_dump(exclude=free)

    @field_validator("label_smoothing", mode="before")
    @classmethod
    def _as_the_recipe_says(cls, value: Any, info: ValidationInfo) -> Any:
        return value.within(info.data) if isinstance(value, DefaultBy) else value

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(m < 1 for m in value) or list(value) != sorted(set(value)):
            raise ValueError("milestones are epochs from 1 upwards, rising")
        return value

    @model_validator(mode="after")
    def _batch_is_shared_evenly(self) -> Self:
        if self.batch_size % self.team:
            fits = max(self.team, round(self.batch_size / self.team) * self.team)
            raise invalid(
                "batch_size",
                f"{self.team} processes cannot share {self.batch_size:,} images evenly; take "
                f"{fits:,}, say",
            )
        return self

    @model_validator(mode="after")
    def _teacher_fits_recipe(self) -> Self:
        if self.recipe.needs_teacher and self.teacher is None:
            kind = "robust" if self.recipe.record.robust_teacher else "`clean`"
            raise invalid("teacher", f"this recipe needs one; train a {kind} model first")
        if self.recipe.record.teacher == "none" and self.teacher is not None:
            raise invalid("teacher", f"the recipe `{self.recipe}` uses none")
        return self
