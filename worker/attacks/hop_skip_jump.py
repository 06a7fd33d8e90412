"""HopSkipJump (Chen, Jordan and Wainwright, IEEE S&P 2020, arXiv 1904.02144), Linf and L2.

It sees nothing but the predicted class (hard label), and follows the boundary towards the image.
With φ(z) = 1 where the model errs at z and -1 elsewhere, d values an image, p the norm, and P_α(z)
either α z + (1 - α) x in L2 or z cut to [x - α, x + α] in Linf:

    x_t = P_α(z_t)               the smallest α with φ = 1 by bisection, to d^-1.5 of its range
                                 in L2 and d^-2 in Linf
    g = mean (φ_b - mean φ) u_b  φ_b = φ(x_t + δ_t u_b) for B_t = B_0 sqrt(t) draws u_b of length 1,
                                 δ_t = |z_t - x|_p / d; where all φ_b agree, mean φ_b u_b
    z_{t+1} = x_t + ξ_t v        v = g / |g|_2 in L2, sign(g) in Linf; ξ_t = |x_t - x|_p / sqrt(t),
                                 halved until φ = 1

u is normal in L2 and uniform in Linf, scaled to length 1. The constants are those of the authors'
code, and so is a random start: mixed with x before anything else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import count, islice
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from worker.attacks.draws import Draws
from worker.attacks.norms import Norm, check_norm, length, per_image, steepest
from worker.attacks.pgd import FirstBreak, Model, check_batch

STARTS = 50
"""Random images tried as a start where the batch has no image of another class."""
FIRST_DRAWS = 100
"""B_0"""
FIRST_RADIUS = 0.1
"""δ_1"""
MIXING = 10
"""Bisections between a random start and the image."""
AT_ONCE = 10
"""Draws that one image asks about together, so that the model sees few and full batches."""


class Answered(NamedTuple):
    """Images, and what the model says of them."""

    x: Tensor
    """(N, C, H, W)"""
    predicted: Tensor
    """(N,) int64"""


_Result = TypeVar("_Result")
_Asking = Generator[Tensor, list[bool], _Result]
"""Yields images (k, C, H, W), is sent whether the model errs at each, and returns a result."""


def hop_skip_jump(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm,
    queries: int,
    seed: int,
    seeds: Sequence[int] | None = None,
    starts: Answered | None = None,
) -> FirstBreak:
    """The first misclassified image within ε that the search comes across, within `queries`.

    The start is the nearest image of the batch that the model gives another class, which costs
    nothing, or else the first of `STARTS` random images that it does. Without any start an image
    withstands. Each image has its own draws.

    Args:
        model: images in [0, 1] -> logits (N, K), of which only the highest class is used. It is
            never shown more images at once than x has.
        x: images (N, C, H, W) in [0, 1].
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1].
        norm: "linf" or "l2".
        queries: at least 1 for each image, beside one for the clean image.
        seed: of all that is random; the global generators stay as they are.
        seeds: one for each image, from which its draws follow; None: from its place in the batch.
        starts: images to start at instead of those of the batch.

    Returns:
        Broken images as they first broke, and after how many queries; those that withstood, or were
        wrong before, as they were. One run answers for every smaller number of queries.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_batch(x, y)
    check_norm(norm, among=("linf", "l2"))
    radius = per_image("eps", eps, x).flatten()
    if queries < 1:
        raise ValueError(f"queries must be at least 1, not {queries}")
    found, first_break = x.detach().clone(), torch.zeros_like(y)
    with torch.no_grad():
        searches = _searches(model, found, y, norm, queries, Draws(seed, seeds), starts)
        first_break[[search.row for search in searches]] = queries + 1
        while searches:
            seen = torch.cat([search.images for search in searches])  # (M, C, H, W)
            rows = torch.tensor(
                [search.row for search in searches for _ in search.images], device=x.device
            )
            predicted = torch.cat([model(part).argmax(dim=1) for part in torch.split(seen, len(x))])
            wrong = predicted != y[rows]
            broke = wrong & (length(seen - x[rows], norm) <= radius[rows])
            answers = iter(zip(wrong.tolist(), broke.tolist(), strict=True))
            for search in searches:
                broken = search.hear(list(islice(answers, len(search.images))))
                if broken is not None:
                    found[search.row], first_break[search.row] = broken, search.asked
            searches = [search for search in searches if len(search.images)]
    return FirstBreak(found, first_break)


class _Search:
    """The search around one image: what it asks next, and how much it may still ask."""

    def __init__(self, row: int, asking: _Asking[None], queries: int) -> None:
        self.row = row
        self.images = next(asking)[:queries]
        """The images to ask about, (k, C, H, W); none once it is over."""
        self.asked = 0
        """Queries so far, up to the one that broke the image."""
        self._asking, self._queries = asking, queries

    def hear(self, answers: list[tuple[bool, bool]]) -> Tensor | None:
        """Whether the model errs at each image asked about, and whether it does so within ε.

        Returns the first that does, (C, H, W), which ends the search.
        """
        shown, self.images = self.images, self.images[:0]
        for image, (_, broke) in zip(shown.unbind(), answers, strict=True):
            self.asked += 1
            if broke:
                return image
        left = self._queries - self.asked
        if left:
            try:
                self.images = self._asking.send([wrong for wrong, _ in answers])[:left]
            except StopIteration:  # it has no start
                return None
        return None


def _searches(
    model: Model,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    queries: int,
    draws: Draws,
    starts: Answered | None,
) -> list[_Search]:
    """One for each image that the model gets right."""
    predicted, own = model(x).argmax(dim=1), draws.seeds(len(x))
    pool, answers = starts or Answered(x, predicted)
    searches = []
    for row in (predicted == y).nonzero().flatten().tolist():
        generator = torch.Generator().manual_seed(own[row])
        others = pool[answers != y[row]]
        asking = _around(x[row : row + 1], others, norm, generator)
        searches.append(_Search(row, asking, queries))
    return searches


def _around(x: Tensor, others: Tensor, norm: Norm, generator: torch.Generator) -> _Asking[None]:
    """Algorithm 2 around x, (1, C, H, W), which ends only where it finds no start.

    `others` are images of other classes, (M, C, H, W).
    """
    if len(others):
        z = others[length(others - x, norm).argmin()][None]
    else:
        z = yield from _noise(x, generator)
    if len(z) == 0:
        return
    radius = FIRST_RADIUS
    bisections = math.ceil((1.5 if norm == "l2" else 2) * math.log2(x.numel()))
    for t in count(1):
        x_t = yield from _boundary(x, z, norm, bisections)
        draws = int(FIRST_DRAWS * math.sqrt(t))
        gradient = yield from _gradient(x_t, draws, radius, norm, generator)
        first = length(x_t - x, norm).item() / math.sqrt(t)
        z = yield from _jump(x_t, steepest(gradient, norm), first)
        radius = length(z - x, norm).item() / x.numel()


def _noise(x: Tensor, generator: torch.Generator) -> _Asking[Tensor]:
    """A misclassified image, uniform in [0, 1] and then mixed with x, (1, C, H, W), or none."""
    for _ in range(STARTS):
        drawn = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x)
        (wrong,) = yield drawn
        if wrong:
            return (yield from _boundary(x, drawn, "l2", MIXING))
    return x[:0]


def _boundary(x: Tensor, z: Tensor, norm: Norm, bisections: int) -> _Asking[Tensor]:
    """The misclassified P_α(z) nearest to x that so many bisections of α find, from z itself on."""
    low, high = 0.0, 1.0 if norm == "l2" else length(z - x, norm).item()
    crossed = z
    for _ in range(bisections):
        middle = (low + high) / 2
        moved = middle * (z - x) if norm == "l2" else (z - x).clamp(-middle, middle)
        (wrong,) = yield x + moved
        if wrong:
            crossed, high = x + moved, middle
        else:
            low = middle
    return crossed


def _gradient(
    x_t: Tensor, draws: int, radius: float, norm: Norm, generator: torch.Generator
) -> _Asking[Tensor]:
    """The estimate g of the direction in which the model errs, up to its length, (1, C, H, W)."""
    weighted, total, signs = torch.zeros_like(x_t), torch.zeros_like(x_t), 0.0
    for start in range(0, draws, AT_ONCE):
        shape = (min(AT_ONCE, draws - start), *x_t.shape[1:])
        if norm == "l2":
            u = torch.randn(shape, generator=generator, dtype=x_t.dtype)
        else:
            u = 2 * torch.rand(shape, generator=generator, dtype=x_t.dtype) - 1
        seen = (x_t + radius * steepest(u.to(x_t), "l2")).clamp(0, 1)
        u = seen - x_t  # what is left of δ u in the box
        wrong = yield seen
        phi = 2 * x_t.new_tensor(wrong) - 1
        weighted += torch.tensordot(phi, u, dims=1)
        total, signs = total + u.sum(dim=0), signs + phi.sum().item()
    baseline = signs / draws if abs(signs) < draws else 0.0
    return weighted - baseline * total


def _jump(x_t: Tensor, direction: Tensor, size: float) -> _Asking[Tensor]:
    """The first misclassified point along the direction, of half the distance each time."""
    while True:
        jumped = (x_t + size * direction).clamp(0, 1)
        (wrong,) = yield jumped
        if wrong:
            return jumped
        size /= 2
