"""Named settings of a training: what the paper used, and what fits smaller machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue

from app.contracts.params.base import Params
from app.contracts.params.training import Direction, Precision, Schedule
from app.contracts.recipes import Recipe
from app.contracts.units import from_255


class TrainingPreset(Params):
    """Values of `TrainParams`. What it leaves out stays as it was: name, data, teacher, seed, and
    how many processes train."""

    name: str = Field(description="What the API and the command line call it.")
    title: str = Field(description="What the pages call it.")
    summary: str = Field(description="What it is for, and what it costs.")
    values: dict[str, JsonValue] = Field(
        description="Parameters of a training; budgets are shares of the range of a pixel."
    )


_PAPER: Mapping[str, Any] = {
    "architecture": "wrn-28-10",
    "epochs": 200,
    "batch_size": 128,
    "augment": True,
    "precision": Precision.FLOAT32,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 2e-4,
    "schedule": Schedule.MULTISTEP,
    "milestones": [100, 150],
    "ema_decay": 0.0,
    "epsilon": from_255(8),
    "step_size": from_255(2),
    "steps": 10,
    "direction": Direction.AWAY,
    "awp_gamma": 0.0,
    "awp_warmup": 0,
    "agkd_weight": 1.0,
    "bml_weight": 2.0,
    "margin": 0.03,
    "mu": 1e-3,
    "mart": True,
    "mart_beta": 6.0,
    "trades_beta": 6.0,
    "start_from_teacher": True,
}
"""Values in the authors' released code. Every preset names all of them: one undoes another. Label
smoothing is left to the recipe, and the number of processes to the machine."""


def _preset(name: str, title: str, summary: str, **changes: Any) -> TrainingPreset:
    return TrainingPreset(name=name, title=title, summary=summary, values={**_PAPER, **changes})


TRAINING_PRESETS = (
    _preset(
        "paper",
        "Paper: AGKD-BML",
        "The values of the authors' released code: WRN-28-10, 200 epochs, 10 attack steps. A day "
        "or more on one GPU, out of reach of a CPU. First train its teacher: the same values with "
        "the recipe `clean`.",
        recipe=Recipe.AGKD_BML,
    ),
    _preset(
        "agkd-bml-7",
        "Paper: AGKD-BML-7",
        "The same with 7 attack steps: the variant whose accuracy under AutoAttack the paper "
        "reports. About three quarters of the time.",
        recipe=Recipe.AGKD_BML,
        steps=7,
    ),
    _preset(
        "quick",
        "Quick, on a CPU",
        "Any recipe with WRN-10-2, 3 epochs and 3 attack steps: minutes on two cores for 10,000 "
        "images, some twenty for CIFAR-10. A first impression, not a result.",
        architecture="wrn-10-2",
        epochs=3,
        precision=Precision.AUTO,
        schedule=Schedule.ONE_CYCLE,
        weight_decay=5e-4,
        step_size=from_255(4),
        steps=3,
    ),
    _preset(
        "gpu-short",
        "Short, on one GPU",
        "Any recipe with PreActResNet-18, 20 epochs, bfloat16: planned for under 15 minutes on "
        "CIFAR-10 with one data-centre GPU, which nobody has measured yet.",
        architecture="preactresnet-18",
        epochs=20,
        batch_size=256,
        precision=Precision.BFLOAT16,
        schedule=Schedule.ONE_CYCLE,
        learning_rate=0.2,
        weight_decay=5e-4,
    ),
)


def training_preset(name: str) -> TrainingPreset:
    """One of TRAINING_PRESETS. Raises ValueError, which names them all."""
    for preset in TRAINING_PRESETS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in TRAINING_PRESETS)
    raise ValueError(f"there is no preset {name!r}; there are {known}")
