"""One image, attacked on several models and seen by them all, at some budgets at a time.

Nothing at one budget depends on another, so each thread of a processor takes some budgets through
to the end by itself: threads that share every operation wait for each other at every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.params import LIVE_ITERATES, ExplainParams
from worker import registry
from worker.data.augment import to_float
from worker.data.corruptions import as_jpeg
from worker.jobs.crafting import Crafted, Run, craft, random_directions, rounded
from worker.jobs.looking import Looker, Seen, look

_QUALITIES = (90, 75)


@dataclass(frozen=True)
class Responses:
    """What one model makes of everything at B budgets."""

    noise: Seen
    """The image with random noise of each budget."""
    stored: Mapping[str, Seen]
    """The last iterates of its own attack, stored in other ways."""
    looks: Sequence[Sequence[Seen]]
    """The pictures crafted on each model: its own all, T times of B, the last with its stages; of
    others the last."""

    @classmethod
    def still(cls, clean: Seen, like: Self) -> Self:
        """At budget 0, where every picture is the clean one; `like` another one of the model."""
        plain = clean.without_stages
        looks = [[clean if one.stages else plain for one in columns] for columns in like.looks]
        return cls(plain, dict.fromkeys(like.stored, plain), looks)

    @classmethod
    def joined(cls, several: Sequence[Self]) -> Self:
        """At these budgets and then at those."""
        looks = [
            [Seen.joined(column) for column in zip(*columns, strict=True)]
            for columns in zip(*(one.looks for one in several), strict=True)
        ]
        stored = {
            form: Seen.joined([one.stored[form] for one in several]) for form in several[0].stored
        }
        return cls(Seen.joined([one.noise for one in several]), stored, looks)


@dataclass(frozen=True)
class Part:
    """What came of some budgets, B of them: of each model, in their order."""

    pictures: Sequence[NDArray[np.uint8]]
    """Crafted on it, (B, T, H, W, 3)."""
    responses: Sequence[Responses]
    """What it makes of everything."""

    @classmethod
    def joined(cls, several: Sequence[Self]) -> Self:
        """One after the other."""
        return cls(
            [np.concatenate(each) for each in zip(*(one.pictures for one in several), strict=True)],
            [
                Responses.joined(each)
                for each in zip(*(one.responses for one in several), strict=True)
            ],
        )

    @property
    def last(self) -> Self:
        """The same with the last iterates alone."""
        pictures = [each[:, -1:] for each in self.pictures]
        responses = [
            replace(one, looks=[columns[-1:] for columns in one.looks]) for one in self.responses
        ]
        return replace(self, pictures=pictures, responses=responses)


@dataclass(frozen=True)
class LiveAttack:
    """An image, and the models that are attacked."""

    params: ExplainParams
    lookers: Sequence[Looker]
    pixels: NDArray[np.uint8]
    """(H, W, 3)"""
    clean: Sequence[Seen]
    """What each model makes of it, with its stages."""
    truths: Sequence[int]
    """The class that the attack on each model leaves."""
    runs: Sequence[Sequence[Run]]
    """The runs of the attack on each model."""

    def part(self, budgets: Sequence[float], report: Callable[[int], None]) -> Part:
        """Attack each model at budgets above 0, and look at all of it with each.

        `report` is called before every pass of an attack with the number of its pictures.
        """
        x = as_batch(self.pixels[None])
        sizes = torch.tensor(budgets).to(x)
        how = self.params.attack
        crafted = [
            craft(
                looker, x, truth, sizes,
                attack=how, runs=runs, most=LIVE_ITERATES, report=report,
            )
            for looker, truth, runs in zip(self.lookers, self.truths, self.runs, strict=True)
        ]  # fmt: skip
        noise = random_directions(x, sizes, attack=how, seed=self.params.seed)
        pictures = [_pixels(one.iterates) for one in crafted]
        return Part(
            pictures,
            [
                _responses(looker, number, crafted[number], pictures, noise)
                for number, looker in enumerate(self.lookers)
            ],
        )

    def with_budget_zero(self, parts: Sequence[Part]) -> Part:
        """The clean image, and then these parts."""
        first = parts[0]
        pictures = [
            np.broadcast_to(self.pixels, (1, each.shape[1], *self.pixels.shape))
            for each in first.pictures
        ]
        still = [Responses.still(*each) for each in zip(self.clean, first.responses, strict=True)]
        return Part.joined([Part(pictures, still), *parts])


def _responses(
    looker: Looker,
    number: int,
    own: Crafted,
    pictures: Sequence[NDArray[np.uint8]],
    noise: Tensor,
) -> Responses:
    """What the model of this number makes of all that was crafted: what its own attack has not seen
    in one go."""
    last = [each[:, -1] for each in pictures]
    stored = {"float": own.iterates[:, -1]}
    for quality in _QUALITIES:
        again = np.stack([as_jpeg(one, quality) for one in last[number]])
        stored[f"jpeg-{quality}"] = as_batch(again)
    others = [as_batch(each) for i, each in enumerate(last) if i != number]
    every = look(looker, torch.cat([rounded(noise), *stored.values(), *others]))
    noisy, *rest = every.split([len(noise)] * (1 + len(stored) + len(others)))
    looks = [[one] for one in rest[len(stored) :]]
    looks.insert(number, list(own.seen))
    return Responses(noisy, dict(zip(stored, rest, strict=False)), looks)


def as_batch(pixels: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) in [0, 1], on the device, channels last."""
    return to_float(torch.tensor(pixels, device=registry.device()).permute(0, 3, 1, 2))


def _pixels(x: Tensor) -> NDArray[np.uint8]:
    """(..., 3, H, W) in [0, 1] -> (..., H, W, 3) as 8 bit holds it."""
    return (x * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()
