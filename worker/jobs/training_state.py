"""Everything that a training run changes as it goes: saved whole, so that it can go on."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from app.contracts.params import Precision, TrainParams
from app.errors import JobError
from worker.data.sampling import EpochSampler
from worker.jobs.saves import LAST, UNREADABLE, read, write
from worker.jobs.schedules import schedule
from worker.models import Classifier
from worker.recipes.precision import bfloat16_is_native

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
    """`clean`, `robust` and `fgsm`: correct images and all images."""


@dataclass
class EpochSums:
    """What the epoch's figures are means of; sums stay on the device."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    """Of the latest step."""

    def add(
        self, terms: dict[str, Tensor], *, images: int, seconds: float, learning_rate: float
    ) -> None:
        for name, value in terms.items():
            self.terms[name] = value.detach() + self.terms.get(name, 0)
        self.steps += 1
        self.images += images
        self.seconds += seconds
        self.learning_rate = learning_rate

    def figures(self) -> dict[str, float]:
        """The means, the learning rate and the pace. One wait for the device.

        Raises JobError where a mean is not finite.
        """
        values = torch.stack(list(self.terms.values())).double() / self.steps
        if not bool(values.isfinite().all()):
            raise JobError(
                "The loss is not a finite number any more.",
                hint="Lower the learning rate, or the weights of the objective.",
            )
        means = dict(zip(self.terms, values.tolist(), strict=True))
        pace = self.images / self.seconds
        return means | {"learning_rate": self.learning_rate, "images_per_s": pace}


@dataclass
class TrainingState:
    """Weights, their average, optimiser, schedule, sampler, every generator, the best epoch."""

    model: Classifier
    averaged: Classifier | None
    """The exponential moving average of the weights and buffers; None without one."""
    params: TrainParams
    optimizer: SGD
    schedule: LRScheduler
    sampler: EpochSampler
    generators: dict[str, torch.Generator]
    precision: Precision
    """What the steps compute in; never `auto`."""
    best: Best = field(default_factory=Best)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    epoch_sums: EpochSums = field(default_factory=EpochSums)
    validated: int = 0
    """Epochs trained and measured; one less than the sampler's while an epoch is being measured."""
    last_correct: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the epoch measured last, as in `Best`."""
    earlier_seconds: float = 0.0
    """What earlier attempts took, until the checkpoint that this one went on from."""
    _began: float = field(default_factory=time.monotonic)
    _best_changed: bool = False
    """Whether the best weights have to be written with the next checkpoint."""

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
        averaged = copy.deepcopy(model).requires_grad_(False) if params.ema_decay else None
        return cls(
            model,
            averaged,
            params,
            optimizer,
            schedule(optimizer, params, len(sampler)),
            sampler,
            {
                name: torch.Generator(device).manual_seed(streams[name])
                for name in ("augmentation", "attack", "classes")
            },
            _resolved(params.precision, device),
        )

    @property
    def steps(self) -> int:
        """Optimiser steps taken."""
        return self.sampler.epoch * len(self.sampler) + self.sampler.position

    @property
    def seconds(self) -> float:
        """What the run has taken, without what was lost between checkpoint and interruption."""
        return self.earlier_seconds + time.monotonic() - self._began

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    @property
    def measured(self) -> Classifier:
        """The model that is measured and kept: the average where there is one."""
        return self.model if self.averaged is None else self.averaged

    @property
    def dtype(self) -> torch.dtype | None:
        """What the body computes in; None: in the weights' own type."""
        return torch.bfloat16 if self.precision is Precision.BFLOAT16 else None

    def advance(self, restore: Callable[[], None] | None = None) -> None:
        """One step of optimiser, schedule and average down the gradients that the weights have.

        `restore` follows the optimiser: it takes a perturbation off the weights.
        """
        self.optimizer.step()
        if restore is not None:
            restore()
        self.schedule.step()
        if self.averaged is not None:
            _average(self.averaged, self.model, self.params.ema_decay)

    def keep_best(self, best: Best) -> None:
        """Take the measured weights as those of the best epoch."""
        self.best, self.best_weights = best, snapshot(self.measured)
        self._best_changed = True

    def end_epoch(self, correct: dict[str, tuple[int, int]]) -> None:
        """The epoch has been measured."""
        self.last_correct = correct
        self.validated += 1
        self.epoch_sums = EpochSums()

    def save(self, folder: Path) -> None:
        """Write the checkpoint into a folder that is there; call between two steps.

        The best weights have a file of their own, named after their epoch, since they change less
        often. They are complete before the checkpoint names them; what no checkpoint names any
        more goes, and so does what an interrupted save left.
        """
        best, checkpoint = _best_file(folder, self.best.epoch), folder / LAST
        if self._best_changed:
            write(best, self.best_weights)
            self._best_changed = False
        write(checkpoint, self._state())
        for other in folder.iterdir():
            if other not in (best, checkpoint):
                other.unlink()

    def _state(self) -> dict[str, Any]:
        return {
            "params": self.params.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": dict(self.sampler.state_dict()),
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "global_generators": _global_generators(),
            "precision": str(self.precision),
            "best": vars(self.best),
            "epoch_sums": vars(self.epoch_sums),
            "validated": self.validated,
            "last_correct": self.last_correct,
            "seconds": self.seconds,
        }

    def restore(self, folder: Path) -> bool:
        """Go on from the folder's checkpoint; False where there is none.

        Raises JobError where it does not fit.
        """
        path = folder / LAST
        if not path.exists():
            return False
        try:
            saved = read(path)
            earlier = TrainParams.model_validate(saved["params"])
            if not self.params.continues(earlier):
                raise JobError(
                    f"The checkpoint of “{earlier.name}” is of other parameters.",
                    hint="Go on with those of that run; only name and processes may be others.",
                )
            self._load(saved)
            if self.best.epoch:
                self.best_weights = read(_best_file(folder, self.best.epoch))
        except UNREADABLE as error:
            raise JobError(
                "The checkpoint is damaged, or of another version of the lab or another kind of "
                "device.",
                hint="Run the job on the kind of device where it began, or train from the start.",
            ) from error
        # The next checkpoint may go to another folder: that of a job which continues this one.
        self._best_changed = bool(self.best.epoch)
        return True

    def _load(self, saved: dict[str, Any]) -> None:
        device = next(self.model.parameters()).device
        self.model.load_state_dict(saved["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.sampler.load_state_dict(saved["sampler"])
        for name, generator in self.generators.items():
            generator.set_state(saved["generators"][name])
        torch.set_rng_state(saved["global_generators"]["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["global_generators"]["cuda"], device)
        self.precision = Precision(saved["precision"])
        self.best = Best(**saved["best"])
        self.epoch_sums = EpochSums(**saved["epoch_sums"])
        terms = self.epoch_sums.terms
        self.epoch_sums.terms = {name: value.to(device) for name, value in terms.items()}
        self.validated, self.last_correct = saved["validated"], saved["last_correct"]
        self.earlier_seconds = saved["seconds"]


def _global_generators() -> dict[str, Tensor]:
    """What layers such as dropout draw from."""
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def snapshot(model: Classifier) -> dict[str, Tensor]:
    """A copy of all weights and buffers in the host's memory."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _resolved(precision: Precision, device: torch.device) -> Precision:
    if precision is not Precision.AUTO:
        return precision
    return Precision.BFLOAT16 if bfloat16_is_native(device) else Precision.FLOAT32


@torch.no_grad()
def _average(averaged: Classifier, model: Classifier, decay: float) -> None:
    """averaged <- decay * averaged + (1 - decay) * model, of weights and of batch norms."""
    mine, theirs = (list(of.state_dict().values()) for of in (averaged, model))
    floats = [index for index, value in enumerate(mine) if value.is_floating_point()]
    torch._foreach_lerp_([mine[i] for i in floats], [theirs[i] for i in floats], 1 - decay)
    for index in set(range(len(mine))) - set(floats):
        mine[index].copy_(theirs[index])


def _best_file(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch}.pt"
