"""What is known of every image before one model: of a chunk at work, and of all so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.success import Success

STANDS, WRONG = -1, 0
"""Values of `broken_by` besides the numbers of attacks, which count from 1."""
MAIN = 1
"""The number of the main attack."""


@dataclass(kw_only=True)
class ChunkState:
    """The images of a chunk, (B,) each, before one model."""

    y: Tensor
    predicted: Tensor
    """On the clean image."""
    broken_by: Tensor
    """As in `Outcomes`."""
    worst: Tensor
    """As `Outcomes.worst_prediction`."""
    upper: Tensor
    """The smallest budget that is known to break the image, float64; 0 where it is wrong when
    clean, infinite where nothing broke it."""
    lower: Tensor
    """The largest budget that the main attack was given and did not break it with, float64."""
    first_break: Tensor
    """Steps of the main attack at the budget of the threat model; see `Runs`."""
    restart: Tensor
    """Restarts of the main attack that it withstood."""
    queries: Tensor
    """Queries that Square needed; one more than it had where they were not enough."""
    x_adv: Tensor
    """(B, 3, H, W): the example that broke it at the budget of the threat model, else what the main
    attack left of it. Of no record: it goes with the chunk."""

    @classmethod
    def after_clean_pass(cls, x: Tensor, y: Tensor, predicted: Tensor) -> ChunkState:
        """Before any attack, of the images x (B, 3, H, W)."""
        wrong = predicted != y
        stands = torch.where(wrong, 0.0, math.inf).double()
        zero = torch.zeros_like(y)
        return cls(
            y=y,
            predicted=predicted,
            broken_by=torch.where(wrong, WRONG, STANDS),
            worst=predicted.clone(),
            upper=stands,
            lower=torch.zeros_like(stands),
            first_break=zero,
            restart=zero.clone(),
            queries=zero.clone(),
            x_adv=x.clone(),
        )

    def part(self, begin: int, end: int) -> ChunkState:
        """Some of the images; what is noted of them is noted here."""
        return ChunkState(
            **{each.name: getattr(self, each.name)[begin:end] for each in fields(self)}
        )

    def state(self) -> dict[str, Tensor]:
        """A copy on the CPU, for `load`."""
        return {each.name: getattr(self, each.name).to("cpu", copy=True) for each in fields(self)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        for name, values in state.items():
            getattr(self, name).copy_(values)

    def every(self) -> Tensor:
        """All images: their places, (B,)."""
        return torch.arange(len(self.y), device=self.y.device)

    def correct(self) -> Tensor:
        """Images that are right when clean: their places, (M,)."""
        return (self.broken_by != WRONG).nonzero().squeeze(1)

    def standing(self) -> Tensor:
        """Images that nothing has broken at the budget of the threat model: their places, (M,)."""
        return (self.broken_by == STANDS).nonzero().squeeze(1)

    def unbroken_at(self, eps: float) -> Tensor:
        """Images that nothing is known to break with this budget: their places, (M,)."""
        return (self.upper > eps).nonzero().squeeze(1)

    def note(
        self, rows: Tensor, success: Success, eps: float | Tensor, *, by: int, own: float
    ) -> None:
        """Take in a success on the images at `rows`, (M,), attacked with a budget.

        An example counts by its own length: one that was found with a larger budget and lies in
        the ball of the threat model breaks the image there, too.

        Args:
            by: the number of the attack.
            own: the budget of the threat model.
        """
        budget = torch.as_tensor(eps, dtype=torch.float64, device=self.upper.device)
        reached = torch.minimum(success.length, budget).where(success.broken, math.inf)
        self.upper[rows] = self.upper[rows].minimum(reached)
        fell = (reached <= own) & (self.broken_by[rows] == STANDS)
        self.broken_by[rows[fell]] = by
        self.worst[rows[fell]] = success.predicted[fell]
        self.x_adv[rows[fell]] = success.x_adv[fell]

    def left(self, rows: Tensor, success: Success) -> None:
        """Keep where the main attack left the images at `rows`, (M,), that stand."""
        sound = ~success.broken & success.length.isfinite()
        self.x_adv[rows[sound]] = success.x_adv[sound]

    def withstood(self, rows: Tensor, eps: float | Tensor) -> None:
        """The main attack did not break the images at `rows`, (M,), with this budget."""
        budget = torch.as_tensor(eps, dtype=torch.float64, device=self.lower.device)
        self.lower[rows] = self.lower[rows].maximum(budget.expand(len(rows)))


_NUMBER = "number"
_RECORDED = tuple(entry.name for entry in fields(ChunkState) if entry.name != "x_adv")


@dataclass
class RunRecord:
    """Of all images measured so far, the numbers that `ChunkState` has of each."""

    _room: dict[str, NDArray[Any]] = field(default_factory=lambda: {_NUMBER: np.empty(0, np.int64)})
    """By field, in the order in which chunks came, with room for more: only that is written to, so
    what `state` gave stays as it is."""
    _images: int = 0

    def add(self, numbers: tuple[int, ...], state: ChunkState) -> None:
        """Keep what is known of a chunk."""
        known = {name: getattr(state, name).cpu().numpy() for name in _RECORDED}
        self._add(known | {_NUMBER: np.array(numbers)})

    def _add(self, known: Mapping[str, NDArray[Any]]) -> None:
        start, end = self._images, self._images + len(known[_NUMBER])
        for name, values in known.items():
            room = self._room.get(name, values[:0])
            if len(room) < end:
                self._room[name] = np.concatenate((room[:start], np.empty(end, values.dtype)))
            self._room[name][start:end] = values
        self._images = end

    def state(self) -> dict[str, Any]:
        """All of it, for `load`."""
        return {name: torch.from_numpy(room[: self._images]) for name, room in self._room.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take in a `state`, of other images."""
        self._add({name: values.numpy() for name, values in state.items()})

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Of the images, (n,), in the order in which they came."""
        return self._room[_NUMBER][: self._images]

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A field of all images, (n,), in the order of their numbers."""
        return self._room[name][: self._images][np.argsort(self.numbers, kind="stable")]
