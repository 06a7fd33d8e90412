"""Square Attack: random squares, kept where they lower the margin; no gradients.

Andriushchenko et al., ECCV 2020, arXiv 1912.00049, as AutoAttack runs it: in Linf algorithms 1 and
2, with the authors' draws; in L2 and L1 by the authors' code.

In Linf a query changes one square of each image, the same for all: each channel of it becomes
x + ε or x - ε. Of a network that remembers images only what sees the square is computed
(`worker.models.patches`), and an image that the square would leave as it is is not asked about.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from worker.attacks.draws import Draws, uniform
from worker.attacks.losses import margin
from worker.attacks.norms import Norm, check_norm, per_image
from worker.attacks.pgd import FirstBreak, Model, check_batch

FIRST_SHARE = 0.8
"""Of the image's pixels, in the first squares."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Squares after which that share is halved."""
SMALLEST_SIDE = 5
"""Pixels: in L2 and L1 the first perturbation is a grid of 5 by 5 squares."""


def square(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm,
    queries: int,
    seed: int,
    seeds: Sequence[int] | None = None,
) -> FirstBreak:
    """Up to `queries` random squares on every image, and how many it took to break it.

    The first perturbation, which every image gets unseen, counts as one query together with the
    first square. The squares shrink by the number of queries made, not by the share of those
    allowed, as in AutoAttack: so one run answers for every smaller number of queries.

    Args:
        model: images in [0, 1] -> logits (N, K), in eval mode.
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1].
        norm: "linf", "l2" or "l1"; the last two need images at least 5 pixels high and wide.
        queries: at least 1.
        seed: of the squares, whose places all images share; the global generators stay as they are.
        seeds: one for each image, so that its draws are its own in any batch; None: they are the
            batch's as a whole.

    Returns:
        Broken images as they first broke, the others at their lowest margin.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_batch(x, y)
    check_norm(norm)
    per_image("eps", eps, x)
    if queries < 1:
        raise ValueError(f"queries must be at least 1, not {queries}")
    if norm != "linf" and min(x.shape[2:]) < SMALLEST_SIDE:
        raise ValueError(f"in {norm}, images need {SMALLEST_SIDE} pixels a side")
    x_adv = x.detach().clone()
    with torch.no_grad():
        standing = model(x_adv).argmax(dim=1) == y
    first_break = torch.where(standing, queries + 1, 0)
    rows = standing.nonzero().squeeze(1)
    if len(rows) == 0:
        return FirstBreak(x_adv, first_break)
    seen, labels = x_adv[rows], y[rows]
    draws = Draws(seed, None if seeds is None else [seeds[row] for row in rows.tolist()])
    if norm == "linf":
        found = _by_squares(model, seen, labels, eps=eps, queries=queries, draws=draws)
    else:
        found = _by_authors(
            model, seen, labels, eps=eps, norm=norm, queries=queries, seed=seed, draws=draws
        )
    x_adv[rows], first_break[rows] = found
    return FirstBreak(x_adv, first_break)


class Memory(Protocol):
    """Images that are remembered, and change square by square."""

    logits: Tensor
    """Of the images as they were first, (N, K)."""

    def look(self, rows: Tensor, top: int, left: int, pixels: Tensor) -> Tensor:
        """Logits (M, K) of the images at `rows`, (M,), with other pixels, (M, C, h, w), there."""

    def keep(self, kept: Tensor) -> None:
        """Of those images these, (M,) bool, have changed for good."""


@runtime_checkable
class Remembering(Protocol):
    """A model that can remember images."""

    def remember(self, x: Tensor) -> Memory:
        """The images (N, C, H, W)."""


class _Whole:
    """The images themselves: any model can be asked about all of an image."""

    def __init__(self, model: Model, x: Tensor) -> None:
        self._model, self._x, self.logits = model, x.clone(), model(x)

    def look(self, rows: Tensor, top: int, left: int, pixels: Tensor) -> Tensor:
        self._rows, self._seen = rows, self._x[rows]
        height, width = pixels.shape[2:]
        self._seen[:, :, top : top + height, left : left + width] = pixels
        return self._model(self._seen)

    def keep(self, kept: Tensor) -> None:
        self._x[self._rows[kept]] = self._seen[kept]


def side_of(query: int, height: int, width: int) -> int:
    """Pixels along a square, of the query with this number, from 1."""
    share = FIRST_SHARE / 2 ** bisect_left(HALVINGS, query - 1)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


@torch.no_grad()
def _by_squares(
    model: Model, x: Tensor, y: Tensor, *, eps: float, queries: int, draws: Draws
) -> FirstBreak:
    """In Linf, of images that stand."""
    channels, height, width = x.shape[1:]
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    # Drawn on the CPU and in their order, these are what the authors' code draws.
    stripes = draws.each(x.new_empty(len(x), channels, 1, width).float(), uniform) > 0.5
    chosen = torch.rand((queries, 2 + channels), generator=draws.common)
    sides = [side_of(query, height, width) for query in range(1, queries + 1)]
    room = torch.tensor([height, width]) - torch.tensor(sides)[:, None]
    places, ups = (room * chosen[:, :2]).long().tolist(), chosen[:, 2:, None, None] > 0.5
    best = torch.where(stripes, high, low)
    memory = _remembered(model, best)
    highest = margin(memory.logits.nan_to_num(), y)  # above 0 where the image is broken
    first_break = torch.where(memory.logits.argmax(dim=1) != y, 1, queries + 1)
    for query, (side, (top, left), up) in enumerate(zip(sides, places, ups, strict=True), 1):
        square = ..., slice(top, top + side), slice(left, left + side)
        pixels = torch.where(up.to(x.device), high[square], low[square])
        changes = (pixels != best[square]).sum(dim=(1, 2, 3)) > 0
        rows = (changes & (first_break > queries)).nonzero().squeeze(1)  # (M,)
        if len(rows) == 0:
            continue
        logits = memory.look(rows, top, left, pixels[rows])
        broke = logits.argmax(dim=1) != y[rows]
        value = margin(logits.nan_to_num(), y[rows])
        better = broke | (value > highest[rows])
        if not better.any():
            continue
        memory.keep(better)
        better = rows[better]
        best[square][better] = pixels[better]
        highest[rows] = highest[rows].maximum(value)
        first_break[rows[broke]] = query
    return FirstBreak(best, first_break)


def _remembered(model: Model, x: Tensor) -> Memory:
    # On a GPU, launching many small operations takes longer than the few large ones they replace.
    if isinstance(model, Remembering) and x.device.type == "cpu":
        return model.remember(x)
    return _Whole(model, x)


def _by_authors(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm,
    queries: int,
    seed: int,
    draws: Draws,
) -> FirstBreak:
    """The authors' code, of images that stand."""
    from pyautoattack.square import SquareAttack

    oracle = _Oracle(model, y, x.dtype)

    class WithOwnSigns(SquareAttack):  # type: ignore[misc]
        """Draws the signs of an image's squares as its own."""

        def random_choice(self, shape: list[int]) -> Tensor:
            signs = draws.signs(oracle.left, shape[1:])
            return super().random_choice(shape) if signs is None else signs.to(x.device)

    attack = WithOwnSigns(
        oracle, norm=norm.capitalize(), n_queries=queries, eps=eps, resc_schedule=False
    )
    # Its L1 projection knows single precision alone, its views one layout in memory.
    images = x.float().contiguous()
    attack.init_hyperparam(images)
    with torch.random.fork_rng(devices=[]):  # it draws from the CPU's global generator
        torch.default_generator.manual_seed(seed)
        _, found = attack.attack_single_run(images, y)
    first_break = torch.where(oracle.broken_by > 0, oracle.broken_by, queries + 1)
    return FirstBreak(found.clamp(0, 1).to(x.dtype), first_break)


class _Oracle:
    """The model as the attack sees it, which notes the query that breaks each image."""

    def __init__(self, model: Model, y: Tensor, dtype: torch.dtype) -> None:
        self.model, self.y, self.dtype = model, y, dtype
        self.left = torch.arange(len(y), device=y.device)
        """The images that the next query shows, (M,): the attack lets go of those that broke."""
        self.broken_by = torch.zeros_like(y)
        """(N,): the query that broke an image, 0 for none."""
        self.queries = 0

    def __call__(self, x: Tensor) -> Tensor:
        # In L1 rounding leaves the box; clamped here and at the end, to the same images.
        logits = self.model(x.clamp(0, 1).to(self.dtype)).to(x.dtype)
        y = self.y[self.left]
        broke = logits.argmax(dim=1) != y
        self.broken_by[self.left[broke]] = max(self.queries, 1)
        self.queries += 1
        self.left = self.left[~broke]
        return _decided(logits, y, broke)


def _decided(logits: Tensor, y: Tensor, broke: Tensor) -> Tensor:
    """A copy whose margin is positive where the image stands, and negative where it broke.

    At ties and at NaN the margin says neither: the attack would give up an image that stands, and
    fail once none is left to ask about.
    """
    logits = logits.nan_to_num()
    others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    own = logits.gather(1, y[:, None]).squeeze(1)
    above = torch.maximum(own, others.nextafter(torch.full_like(others, torch.inf)))
    below = torch.minimum(own, others.nextafter(torch.full_like(others, -torch.inf)))
    return logits.scatter(1, y[:, None], torch.where(broke, below, above)[:, None])
