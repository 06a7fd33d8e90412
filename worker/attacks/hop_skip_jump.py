"""HopSkipJump: goes along the boundary with nothing but the predicted class (hard label).

Chen, Jordan and Wainwright, IEEE S&P 2020, arXiv 1904.02144, by foolbox. From a misclassified
start it returns to the boundary by bisection, estimates the boundary's normal from random queries
around that point, and steps along it, so that the point comes ever closer to the image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.attacks.norms import Norm, check_norm, length, per_image, steepest
from worker.attacks.pgd import Model, check_batch

DRAWS = 50
"""Random images tried as a start where the batch has no image of another class."""
MOST_STEPS = 1000
"""More than any number of queries reaches: the queries end the search, not the steps."""


def hop_skip_jump(
    model: Model, x: Tensor, y: Tensor, *, eps: float, norm: Norm, queries: int, seed: int
) -> Tensor:
    """The first misclassified image within ε that the search comes across, within `queries`.

    The start is the nearest image of the batch that the model gives another class, or else the
    first of `DRAWS` random images that it does. Without any start an image withstands.

    Args:
        model: images in [0, 1] -> logits (N, K), of which only the highest class is used.
        x: images (N, C, H, W) in [0, 1].
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1].
        norm: "linf" or "l2".
        queries: at least 1 for each image, beside one for the clean image.
        seed: of all that is random; the global generators stay as they are.

    Returns:
        The broken images, (N, C, H, W); those that withstood, or were wrong before, as they were.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_batch(x, y)
    check_norm(norm, among=("linf", "l2"))
    radius = per_image("eps", eps, x).flatten()
    if queries < 1:
        raise ValueError(f"queries must be at least 1, not {queries}")
    best = x.detach().clone()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        predicted = model(best).argmax(dim=1)
        rows = (predicted == y).nonzero().squeeze(1)
        oracle = _Oracle(model, best[rows], y[rows], radius[rows], norm, queries)
        try:
            starts, found = _starts(oracle, best, predicted, generator)
            oracle.keep(found)
            if found.any():
                _search(oracle, starts[found], norm, generator)
        except _Over:
            pass
    best[rows] = oracle.best
    return best


class _Over(Exception):
    """The queries are spent, or nothing is left to break."""


class _Oracle:
    """Tells whether the model errs, counts the questions, and keeps what breaks an image."""

    def __init__(
        self, model: Model, x: Tensor, y: Tensor, radius: Tensor, norm: Norm, queries: int
    ) -> None:
        self.model, self.x, self.y, self.radius, self.norm = model, x, y, radius, norm
        self.queries = queries
        self.best = x.clone()
        self.standing = torch.ones_like(y, dtype=torch.bool)
        self.rows = torch.arange(len(y), device=y.device)
        """The images asked about, (M,)."""
        self.in_model = False

    def __call__(self, seen: Tensor) -> Tensor:
        """One query for each image asked about, (M, C, H, W) -> (M,) bool."""
        if self.queries == 0 or not self.standing[self.rows].any():
            raise _Over
        self.queries -= 1
        self.in_model = True
        wrong = self.model(seen).argmax(dim=1) != self.y[self.rows]
        self.in_model = False
        inside = length(seen - self.x[self.rows], self.norm) <= self.radius[self.rows]
        broke = wrong & inside & self.standing[self.rows]
        self.best[self.rows[broke]] = seen[broke]
        self.standing[self.rows[broke]] = False
        return wrong

    def keep(self, mask: Tensor) -> None:
        """Ask no more about the other images."""
        self.rows = self.rows[mask]


def _starts(
    oracle: _Oracle, batch: Tensor, predicted: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A misclassified image for each image, (M, C, H, W), and whether there is one, (M,)."""
    order = math.inf if oracle.norm == "linf" else 2.0
    distances = torch.cdist(oracle.x.flatten(1), batch.flatten(1), p=order)  # (M, N)
    distances[predicted == oracle.y[:, None]] = torch.inf
    nearest = distances.min(dim=1)
    starts, found = batch[nearest.indices], nearest.values.isfinite()
    for _ in range(DRAWS):
        if found.all():
            break
        drawn = torch.rand(starts.shape, generator=generator, dtype=starts.dtype).to(starts)
        wrong = oracle(drawn) & ~found
        starts[wrong] = drawn[wrong]
        found |= wrong
    return starts, found


def _search(oracle: _Oracle, starts: Tensor, norm: Norm, generator: torch.Generator) -> None:
    """Let foolbox ask until all is over."""
    from eagerpy.astensor import astensor
    from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
    from foolbox.criteria import Misclassification
    from foolbox.models.base import Model as FoolboxModel
    from foolbox.types import Bounds

    class HardLabel(FoolboxModel):
        """Two classes, right and wrong."""

        bounds = Bounds(0, 1)

        def __call__(self, inputs: Any) -> Any:
            return astensor(F.one_hot(oracle(inputs.raw).long(), 2))

    class HopSkipJump(HopSkipJumpAttack):
        """With an estimate that holds one draw at a time, and scales each image by itself.

        Foolbox holds all draws at once, and divides by the length of the whole batch's estimate.
        """

        def approximate_gradients(self, _: Any, x_advs: Any, steps: int, delta: Any) -> Any:
            return astensor(_normal(oracle, x_advs.raw, steps, delta.raw, norm, generator))

    attack = HopSkipJump(steps=MOST_STEPS, constraint="linf" if norm == "linf" else "l2")
    right = torch.zeros(len(starts), dtype=torch.int64, device=starts.device)
    try:
        attack.run(
            HardLabel(), oracle.x[oracle.rows], Misclassification(right), starting_points=starts
        )
    except (AssertionError, ValueError):
        # It insists that a model repeats its answers; a random one ends the search here.
        if oracle.in_model:
            raise


def _normal(
    oracle: _Oracle,
    x_adv: Tensor,
    draws: int,
    radius: Tensor,
    norm: Norm,
    generator: torch.Generator,
) -> Tensor:
    """Monte Carlo estimate of the boundary's unit normal at x_adv (1904.02144, equation 16).

    The mean of (φ_b - mean φ) u_b over draws u_b, φ_b = 1 where the model errs at radius * u_b
    from x_adv and -1 elsewhere; where all φ agree, the mean of φ_b u_b.
    """
    weighted, total = torch.zeros_like(x_adv), torch.zeros_like(x_adv)
    signs = torch.zeros_like(radius)
    around = radius.view(-1, 1, 1, 1)
    for _ in range(draws):
        draw = torch.rand if norm == "linf" else torch.randn
        u = draw(x_adv.shape, generator=generator, dtype=x_adv.dtype).to(x_adv)
        u = steepest(2 * u - 1 if norm == "linf" else u, "l2")
        seen = (x_adv + around * u).clamp(0, 1)
        u = (seen - x_adv) / (around + 1e-8)
        sign = torch.where(oracle(seen), 1.0, -1.0).to(x_adv.dtype)
        weighted, total, signs = weighted + sign.view(-1, 1, 1, 1) * u, total + u, signs + sign
    mean = signs / draws
    baseline = torch.where(mean.abs() == 1, 0.0, mean).view(-1, 1, 1, 1)
    return steepest(weighted - baseline * total, "l2")
