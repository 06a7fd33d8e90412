"""Every knob of every job: bounds, unit, default and help.

Forms, the API's schema and the validation all come from here. Fields carry `title` (label),
`description` (help) and, in `json_schema_extra`, `unit` and `group` for the forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.contracts.jobs import JobKind
from app.contracts.units import Intensity, format_255, from_255

MAX_LINF = from_255(64)
MAX_L2 = 10.0
MAX_DEPTH, MAX_WIDTH = 100, 20


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain line breaks or control characters")
    return value


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80),
    AfterValidator(_printable),
]
"""What a person calls a model or a dataset. Markup is allowed; pages escape it."""
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Architecture = Annotated[
    str, StringConstraints(pattern=r"^(wrn-\d{1,3}-\d{1,2}|preactresnet-18)$", max_length=40)
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


def knob(
    default: Any = ..., *, title: str, help: str, unit: str = "", group: str = "", **bounds: Any
) -> Any:
    """A pydantic `Field` with what a form needs to show it."""
    source = {"default_factory": default} if callable(default) else {"default": default}
    extra: dict[str, JsonValue] = {"unit": unit, "group": group}
    return Field(title=title, description=help, json_schema_extra=extra, **source, **bounds)


def misfit(field: str, message: str) -> PydanticCustomError:
    """The error of a rule that spans several fields; it names the one to change."""
    return PydanticCustomError("misfit", "{message}", {"field": field, "message": message})


class Params(BaseModel):
    """Unknown fields are errors; strings never become numbers silently outside forms."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(StrEnum):
    ARCHIVE = "archive"
    SHAPES = "shapes"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    SVHN = "svhn"


class ImportParams(Params):
    """Bring a dataset into the lab."""

    name: Name = knob(title="Name", help="What the dataset is called in lists and charts.")
    source: Source = knob(
        Source.SHAPES,
        title="Source",
        help="An uploaded archive of class folders, a dataset that torchvision downloads, or "
        "`shapes`: ten classes of drawn objects that need no network.",
    )
    upload: Id | None = knob(None, title="Archive", help="The uploaded archive.")
    image_size: Literal[32, 64] = knob(
        32,
        title="Image size",
        unit="px",
        help="Images are centre-cropped to a square and resized to this side.",
    )
    train_per_class: int = knob(
        1000,
        title="Training images a class",
        help="How many images `shapes` draws; other sources ignore it.",
        ge=10,
        le=10_000,
    )
    seed: Seed = knob(0, title="Seed", help="Seeds the drawing, and the split where there is none.")

    @model_validator(mode="after")
    def _archive_has_upload(self) -> Self:
        if (self.source is Source.ARCHIVE) != (self.upload is not None):
            raise misfit("upload", "an archive needs an uploaded file, and only an archive has one")
        if self.source not in (Source.ARCHIVE, Source.SHAPES) and self.image_size != 32:
            raise misfit("image_size", f"the images of {self.source} have 32 pixels a side")
        return self


class Recipe(StrEnum):
    CLEAN = "clean"
    """Cross-entropy on clean images: the teacher."""
    AGKD_BML = "agkd_bml"
    """The student of Wang et al., ICCV 2021."""


class Schedule(StrEnum):
    MULTISTEP = "multistep"
    COSINE = "cosine"
    ONE_CYCLE = "one_cycle"


class TrainParams(Params):
    """Train one model. Defaults are those of the authors' released code, for a shorter run."""

    name: Name = knob(title="Name", help="What the model is called in lists and charts.")
    dataset: Id = knob(title="Dataset", help="What the model is trained on.")
    recipe: Recipe = knob(
        Recipe.CLEAN,
        title="Recipe",
        help="`clean` trains an undefended classifier, the teacher. `agkd_bml` trains a student "
        "on adversarial examples, guided by a teacher.",
    )
    teacher: Id | None = knob(
        None,
        title="Teacher",
        help="A clean model of the same classes; the student learns where it looks.",
    )
    architecture: Architecture = knob(
        "wrn-10-2",
        title="Architecture",
        help="`wrn-<depth>-<width>` (depth = 6n + 4) or `preactresnet-18`. WRN-10-2 trains on a "
        "CPU; the paper uses WRN-28-10.",
    )
    epochs: int = knob(10, title="Epochs", help="Passes over the training images.", ge=1, le=1000)
    batch_size: int = knob(
        128, title="Batch size", unit="images", help="Images in one step.", ge=8, le=4096
    )
    seed: Seed = knob(0, title="Seed", help="Seeds weights, order, augmentation and attacks.")
    augment: bool = knob(
        True, title="Crop and flip", help="Random crop (pad 4) and horizontal flip of each image."
    )

    learning_rate: Finite = knob(
        0.1, title="Learning rate", help="The highest one of the schedule.", group="Optimiser",
        gt=0, le=10,
    )  # fmt: skip
    momentum: Finite = knob(
        0.9, title="Momentum", help="Nesterov is off.", group="Optimiser", ge=0, lt=1
    )
    weight_decay: Finite = knob(
        2e-4, title="Weight decay", help="L2 penalty on every weight.", group="Optimiser",
        ge=0, le=0.1,
    )  # fmt: skip
    schedule: Schedule = knob(
        Schedule.ONE_CYCLE,
        title="Schedule",
        help="`multistep` divides the rate by ten at each milestone; `cosine` falls to zero; "
        "`one_cycle` rises, then falls: best for short runs.",
        group="Optimiser",
    )
    milestones: tuple[int, ...] = knob(
        (100, 150),
        title="Milestones",
        unit="epochs",
        help="Where `multistep` divides the learning rate by ten.",
        group="Optimiser",
        max_length=10,
    )
    label_smoothing: Finite = knob(
        0.5,
        title="Label smoothing",
        help="s: the true class is given 1 − s, the other classes share s.",
        group="Objective",
        ge=0,
        lt=1,
    )

    epsilon: Intensity = knob(
        from_255(8), title="Perturbation budget ε", unit="/255", group="Adversarial examples",
        help="Largest change of any pixel (L∞) in the student's training examples.",
        gt=0, le=MAX_LINF,
    )  # fmt: skip
    step_size: Intensity = knob(
        from_255(2), title="Step size", unit="/255", group="Adversarial examples",
        help="How far one attack step moves a pixel.", gt=0, le=MAX_LINF,
    )  # fmt: skip
    steps: int = knob(
        10, title="Attack steps", group="Adversarial examples", ge=1, le=100,
        help="Steps of the forward and of the backward attack. AGKD-BML-7 uses 7.",
    )  # fmt: skip
    agkd_weight: Finite = knob(
        1.0, title="AGKD weight", group="Objective", ge=0, le=1000,
        help="Weight of the attention distance to the teacher.",
    )  # fmt: skip
    bml_weight: Finite = knob(
        2.0, title="BML weight λ", group="Objective", ge=0, le=1000,
        help="Weight of the bidirectional triplet loss.",
    )  # fmt: skip
    margin: Finite = knob(
        0.03, title="Triplet margin m", group="Objective", ge=0, le=2,
        help="How much nearer the clean embedding must be than the backward one.",
    )  # fmt: skip
    mu: Finite = knob(
        1e-3, title="Embedding penalty μ", group="Objective", ge=0, le=10,
        help="Weight of the embeddings' squared norm inside the triplet loss.",
    )  # fmt: skip
    mart: bool = knob(
        True, title="MART term", group="Objective",
        help="Adds the misclassification-aware term of Wang et al., ICLR 2020.",
    )  # fmt: skip
    mart_beta: Finite = knob(
        6.0, title="MART β", group="Objective", ge=0, le=100,
        help="Weight of KL(clean || adversarial) inside the MART term.",
    )  # fmt: skip
    start_from_teacher: bool = knob(
        True, title="Start from the teacher", group="Objective",
        help="Initialise the student with the teacher's weights (same architecture only).",
    )  # fmt: skip
    continue_from: Id | None = knob(
        None, title="Continue from", group="Resume",
        help="A cancelled or failed training job with the same parameters: go on from its last "
        "checkpoint.",
    )  # fmt: skip

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(m < 1 for m in value) or list(value) != sorted(set(value)):
            raise ValueError("milestones are epochs from 1 upwards, rising")
        return value

    @field_validator("architecture")
    @classmethod
    def _wide_resnet_exists(cls, value: str) -> str:
        if value.startswith("wrn-"):
            depth, width = (int(part) for part in value.split("-")[1:])
            if not 10 <= depth <= MAX_DEPTH or (depth - 4) % 6 or not 1 <= width <= MAX_WIDTH:
                raise ValueError(
                    f"a Wide ResNet's depth is 6n + 4 (10, 16, 22, ... up to {MAX_DEPTH}), "
                    f"its width from 1 to {MAX_WIDTH}"
                )
        return value

    @model_validator(mode="after")
    def _teacher_fits_recipe(self) -> Self:
        if self.recipe is Recipe.AGKD_BML and self.teacher is None:
            raise misfit("teacher", "a student needs one; train a `clean` model first")
        if self.recipe is Recipe.CLEAN and self.teacher is not None:
            raise misfit("teacher", "only the recipe `agkd_bml` uses one")
        return self


class Method(StrEnum):
    FGSM = "fgsm"
    """One step of size ε (Goodfellow et al., ICLR 2015)."""
    PGD = "pgd"
    """Projected gradient descent (Madry et al., ICLR 2018)."""


class Norm(StrEnum):
    LINF = "linf"
    L2 = "l2"


class Goal(StrEnum):
    UNTARGETED = "untargeted"
    """Any wrong class."""
    MOST_CONFUSING = "most_confusing"
    """The wrong class that the attacked model finds most likely."""
    CLASS = "class"
    """One named class."""


class Attack(Params):
    """How images are attacked; the budget is given by the job."""

    method: Method = knob(Method.PGD, title="Attack", help="FGSM takes one step; PGD many.")
    norm: Norm = knob(Norm.LINF, title="Norm", help="How the size of a perturbation is measured.")
    steps: int = knob(20, title="Steps", help="Steps of PGD; FGSM takes one.", ge=1, le=1000)
    relative_step: Finite = knob(
        0.25,
        title="Step size",
        unit="of ε",
        help="One PGD step as a share of the budget: 0.25 is 2/255 at 8/255.",
        gt=0,
        le=2,
    )
    random_start: bool = knob(
        True, title="Random start", help="Start PGD at a random point of the ball, not the image."
    )
    goal: Goal = knob(Goal.UNTARGETED, title="Goal", help="What the attack tries to reach.")
    target_class: str | None = knob(
        None, title="Target class", help="The class to reach, for the goal `class`.", max_length=200
    )

    @model_validator(mode="after")
    def _target_fits_goal(self) -> Self:
        if (self.goal is Goal.CLASS) != (self.target_class is not None):
            raise misfit("target_class", "belongs to the goal `class`, which needs it")
        return self


def _within_norm(norm: Norm, name: str, value: float) -> None:
    limit = MAX_LINF if norm is Norm.LINF else MAX_L2
    if value > limit:
        shown = format_255(limit) if norm is Norm.LINF else f"{limit:g}"
        raise misfit(name, f"at most {shown} in this norm; 8/255 is written `8/255` or 0.03137")


class EvaluateParams(Params):
    """Measure models under one attack."""

    models: tuple[Id, ...] = knob(
        title="Models", help="Models of the same classes, measured on the same images.",
        min_length=1, max_length=8,
    )  # fmt: skip
    dataset: Id = knob(title="Dataset", help="Its test images are used.")
    images: int = knob(
        1000, title="Test images", unit="images", ge=1, le=1_000_000,
        help="How many, drawn with the seed; all where there are fewer.",
    )  # fmt: skip
    attack: Attack = knob(Attack, title="Attack", help="The same for every model.")
    epsilon: Intensity = knob(
        from_255(8), title="Budget ε of the steps curve", unit="/255", gt=0, le=MAX_L2,
        help="The budget at which accuracy against steps is measured.",
    )  # fmt: skip
    epsilons: tuple[Intensity, ...] = knob(
        tuple(from_255(n) for n in (0, 1, 2, 4, 8, 12, 16)), title="Budgets ε", unit="/255",
        help="The points of the curve of accuracy against budget.", min_length=1, max_length=64,
    )  # fmt: skip
    step_counts: tuple[int, ...] = knob(
        (1, 2, 5, 10, 20, 50), title="Step counts", unit="steps", max_length=32,
        help="The points of the curve of accuracy against steps; PGD only.",
    )  # fmt: skip
    batch_size: int = knob(
        250, title="Batch size", unit="images", help="Images attacked at once.", ge=1, le=4096
    )
    seed: Seed = knob(0, title="Seed", help="Seeds the choice of images and the random starts.")

    @model_validator(mode="after")
    def _curves_are_sound(self) -> Self:
        _within_norm(self.attack.norm, "epsilon", self.epsilon)
        for value in self.epsilons:
            _within_norm(self.attack.norm, "epsilons", value)
        for name, values in (("epsilons", self.epsilons), ("step_counts", self.step_counts)):
            if list(values) != sorted(set(values)) or any(value < 0 for value in values):
                raise misfit(name, "rising, without repeats, not negative")
        if any(not 1 <= count <= 1000 for count in self.step_counts):
            raise misfit("step_counts", "from 1 to 1000")
        if len(set(self.models)) != len(self.models):
            raise misfit("models", "each model once")
        return self


class CraftedOn(StrEnum):
    STUDENT = "student"
    TEACHER = "teacher"


LIVE_LEVELS = 17
"""Positions of the live view's slider, from 0 to the largest budget."""


def _live_attack() -> Attack:
    return Attack(steps=10)


class ExplainParams(Params):
    """Attack one uploaded image at every budget of the slider."""

    upload: Id = knob(title="Image", help="The uploaded image.")
    teacher: Id = knob(title="Teacher", help="The model trained on clean images.")
    student: Id = knob(title="Student", help="The model trained to resist.")
    attack: Attack = knob(_live_attack, title="Attack", help="The same for every budget.")
    max_epsilon: Intensity = knob(
        from_255(16), title="Largest budget ε", unit="/255", gt=0, le=MAX_L2,
        help="The right end of the slider.",
    )  # fmt: skip
    crafted_on: CraftedOn = knob(
        CraftedOn.STUDENT,
        title="Attacked model",
        help="White-box for this model; for the other one the same image is a transfer attack.",
    )
    label: str | None = knob(
        None, title="True class", max_length=200,
        help="What the image shows; left empty, what the teacher sees in the clean image.",
    )  # fmt: skip
    seed: Seed = knob(0, title="Seed", help="Seeds the random start.")

    @model_validator(mode="after")
    def _budget_fits_norm(self) -> Self:
        _within_norm(self.attack.norm, "max_epsilon", self.max_epsilon)
        return self


PARAMS_OF: Mapping[JobKind, type[Params]] = {
    JobKind.IMPORT: ImportParams,
    JobKind.TRAIN: TrainParams,
    JobKind.EVALUATE: EvaluateParams,
    JobKind.EXPLAIN: ExplainParams,
}
