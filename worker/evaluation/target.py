"""What an evaluation measures: models, and the images that they see, a chunk at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict
from zlib import crc32

from torch import Tensor

from app.contracts.params import EvaluateParams, Recipe
from app.contracts.results import Lineage, Mapped
from worker.attacks import Model, Norm
from worker.attacks.hop_skip_jump import Answered
from worker.evaluation.arguments import aims, norm_of, seed_of, unit_noise
from worker.models import AnyModel, BlackBox, Classifier


@dataclass(frozen=True, kw_only=True)
class TargetModel:
    """A model under test."""

    lineage: Lineage
    model: AnyModel
    """Judges what was attacked: images in [0, 1] -> logits (N, K); in eval mode, no gradients for
    parameters."""
    call: Model
    """The same function up to rounding, as attacks call it."""
    recipe: Recipe | None = None
    """How it was trained; None where that is not known."""
    kept: Literal["best", "last"] | None = None
    """Which epoch it is, as in `ModelCard`; None where nobody knows how it was chosen."""
    mapped: Mapped | None = None
    """How its outputs were taken for the dataset's classes; None where nothing was to be done."""
    teacher: Classifier | None = None
    """The model that it learned from, where that is in the lab."""
    teacher_lineage: Lineage | None = None
    teacher_recipe: Recipe | None = None
    """How that was trained; None where that is not known."""

    @property
    def name(self) -> str:
        return self.lineage.name

    @property
    def white_box(self) -> Classifier:
        """The model where its features are wanted, which an evaluation asks of no black box."""
        assert not isinstance(self.model, BlackBox)
        return self.model


@dataclass(frozen=True)
class Source:
    """A model that transfer attacks in place of the target_model."""

    lineage: Lineage
    call: Model


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Images that are measured together, at most a batch."""

    x: Tensor
    """(B, 3, H, W) in [0, 1]"""
    y: Tensor
    """(B,) int64"""
    numbers: tuple[int, ...]
    """Of each image, its number within the test part."""
    masks: Tensor | None
    """(B, H, W) bool, True on the object; None where the dataset has none."""
    index: int
    """Which chunk of the run it is, from 0."""

    def part(self, begin: int, end: int) -> Chunk:
        """Some of its images."""
        return Chunk(
            x=self.x[begin:end],
            y=self.y[begin:end],
            numbers=self.numbers[begin:end],
            masks=None if self.masks is None else self.masks[begin:end],
            index=self.index,
        )


class Draws(TypedDict):
    """Of attacks that draw: from the evaluation's seed, the attack and an image's number alone, so
    that it is attacked alike in whatever batch it is."""

    seed: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AttackBatch:
    """Some images of a chunk before one model: all that an attack needs to know."""

    target_model: TargetModel
    params: EvaluateParams
    x: Tensor
    """(M, 3, H, W)"""
    y: Tensor
    """(M,)"""
    numbers: tuple[int, ...]
    start: Tensor
    """Where the first restart starts, a point of the unit ball, (M, 3, H, W)."""
    targets: Tensor | None
    """The classes to reach in turn, (M, A); None: leave the true class."""
    answered: Answered
    """The images of the whole chunk, whichever the batch has of them."""

    @classmethod
    def of(
        cls,
        target_model: TargetModel,
        params: EvaluateParams,
        classes: Sequence[str],
        chunk: Chunk,
        start: Tensor,
        logits: Tensor,
    ) -> AttackBatch:
        """The whole chunk; `logits` (B, K) are the target_model's on the clean images."""
        return cls(
            target_model=target_model,
            params=params,
            x=chunk.x,
            y=chunk.y,
            numbers=chunk.numbers,
            start=start,
            targets=aims(params.attack, classes, logits, chunk.y),
            answered=Answered(chunk.x, logits.argmax(dim=1)),
        )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def seen(self) -> tuple[Model, Tensor, Tensor]:
        """What every attack takes first: the model under test, images and true classes."""
        return self.target_model.call, self.x, self.y

    @property
    def eps(self) -> float:
        """The budget of the threat model."""
        return self.params.epsilon

    @property
    def norm(self) -> Norm:
        return norm_of(self.params.attack)

    def draws(self, name: str) -> Draws:
        """What an attack of that name draws: keywords of its seed and of its images'."""
        seed = seed_of(self.params.seed, crc32(name.encode()))
        return Draws(seed=seed, seeds=tuple(seed_of(seed, number) for number in self.numbers))

    def within(self, eps: float) -> AttackBatch:
        """The same with another budget."""
        return replace(self, params=self.params.model_copy(update={"epsilon": eps}))

    def take(self, rows: Tensor, start: Tensor | None = None) -> AttackBatch:
        """The images at `rows`, (M',) int64; with another `start` for all M, where given."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            numbers=tuple(self.numbers[row] for row in rows.tolist()),
            start=(self.start if start is None else start)[rows],
            targets=None if self.targets is None else self.targets[rows],
        )

    def noise(self, restart: int) -> Tensor:
        """Where a restart starts, a point of the unit ball for each image."""
        if restart == 0:
            return self.start
        return unit_noise(self.x, self.norm, self.params.seed, self.numbers, restart=restart)
