"""Square Attack: random squares, kept where they lower the margin; no gradients.

Andriushchenko et al., ECCV 2020, arXiv 1912.00049, as AutoAttack runs it, by the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.attacks.norms import Norm, check_norm, per_image
from worker.attacks.pgd import FirstBreak, Model, check_batch

SMALLEST_SIDE = 5
"""Pixels: in L2 and L1 the first perturbation is a grid of 5 by 5 squares."""


def square(
    model: Model, x: Tensor, y: Tensor, *, eps: float, norm: Norm, queries: int, seed: int
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
        seed: of the squares; the global generators stay as they are.

    Returns:
        Broken images as they first broke, the others at their lowest margin.

    Raises:
        ValueError: an argument outside these bounds.
    """
    from pyautoattack.square import SquareAttack

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
    oracle = _Oracle(model, y[rows], x.dtype)
    attack = SquareAttack(
        oracle, norm=norm.capitalize(), n_queries=queries, eps=eps, resc_schedule=False
    )
    # Its L1 projection knows single precision alone, its views one layout in memory.
    images = x_adv[rows].float().contiguous()
    attack.init_hyperparam(images)
    with torch.random.fork_rng(devices=[]):  # it draws from the CPU's global generator
        torch.default_generator.manual_seed(seed)
        _, found = attack.attack_single_run(images, y[rows])
    x_adv[rows] = found.clamp(0, 1).to(x.dtype)
    first_break[rows] = torch.where(oracle.broken_by > 0, oracle.broken_by, queries + 1)
    return FirstBreak(x_adv, first_break)


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
