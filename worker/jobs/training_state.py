"""Everything that a training run changes as it goes: saved whole, so that it can go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from app.contracts.params import TrainParams
from app.errors import JobError
from app.store.files import atomic_write
from worker.data import EpochSampler
from worker.jobs.schedules import schedule
from worker.models import Classifier

CHECKPOINT = "last.pt"
_STREAMS = ("weights", "order", "augmentation", "attack", "classes")


def seeds(seed: int) -> dict[str, int]:
    """One independent seed for each purpose, so that changing one stream leaves the others."""
    children = SeedSequence(seed).spawn(len(_STREAMS))
    return {
        name: int(child.generate_state(1)[0])
        for name, child in zip(_STREAMS, children, strict=True)
    }


@dataclass
class Best:
    """The epoch with the highest score on validation images; a later one wins a tie."""

    epoch: int = 0
    score: float = -1.0
    correct: dict[str, tuple[int, int]] = field(default_factory=dict)
    """`clean` and `robust`: correct images and all images."""
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainingState:
    """Weights, optimiser, schedule, sampler, every generator, and the best epoch so far."""

    model: Classifier
    optimizer: SGD
    schedule: LRScheduler
    sampler: EpochSampler
    generators: dict[str, torch.Generator]
    best: Best = field(default_factory=Best)
    validated: int = 0
    """Epochs trained and measured; one less than the sampler's while an epoch is being measured."""

    @classmethod
    def start(cls, model: Classifier, params: TrainParams, images: int) -> TrainingState:
        """A run before its first step, over `images` training images."""
        device = next(model.parameters()).device
        streams = seeds(params.seed)
        optimizer = SGD(
            model.parameters(),
            lr=params.learning_rate,
            momentum=params.momentum,
            weight_decay=params.weight_decay,
        )
        order = torch.Generator().manual_seed(streams["order"])
        sampler = EpochSampler(images, params.batch_size, order)
        return cls(
            model,
            optimizer,
            schedule(optimizer, params, len(sampler)),
            sampler,
            {
                name: torch.Generator(device).manual_seed(streams[name])
                for name in ("augmentation", "attack", "classes")
            },
        )

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return self.sampler.epoch * len(self.sampler) + self.sampler.position

    def save(self, folder: Path) -> None:
        """Write the checkpoint; call between two steps."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / CHECKPOINT) as stream:
            torch.save(self._state(), stream)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": dict(self.sampler.state_dict()),
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "best": vars(self.best),
            "validated": self.validated,
        }

    def restore(self, folder: Path) -> bool:
        """Go on from the folder's checkpoint; False where there is none.

        Raises JobError where it does not fit.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return False
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
            self.sampler.load_state_dict(saved["sampler"])
            for name, generator in self.generators.items():
                generator.set_state(saved["generators"][name])
            self.best, self.validated = Best(**saved["best"]), saved["validated"]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise JobError(
                "The checkpoint cannot be read, or belongs to other parameters.",
                hint="Train from the start.",
            ) from error
        return True
