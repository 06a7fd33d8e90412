"""The geometry of a perturbation budget: lengths, unit steps, projection and random starts.

Images are (N, C, H, W) in [0, 1]. A budget is one float for the whole batch, or a tensor (N,) with
one value per image. Norms are Linf, L2 and L1; steps along a gradient are defined in Linf and L2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

Norm = Literal["linf", "l2", "l1"]
Budget = float | Tensor

NORMS: tuple[Norm, ...] = get_args(Norm)


def check_norm(norm: str, among: tuple[Norm, ...] = NORMS) -> None:
    """Raises ValueError unless `norm` is one of `among`."""
    if norm not in among:
        raise ValueError(f"norm is one of {', '.join(among)}, not {norm!r}")


def length(delta: Tensor, norm: Norm) -> Tensor:
    """The norm of every image's perturbation, (N, C, H, W) -> (N,)."""
    if norm == "linf":  # four times as fast as vector_norm, in any memory format
        return delta.abs().amax(dim=(1, 2, 3))
    lengths: Tensor = torch.linalg.vector_norm(delta, {"l2": 2.0, "l1": 1.0}[norm], dim=(1, 2, 3))
    return lengths


def slack(eps: float, norm: Norm) -> float:
    """By how much float32 pixels may carry a perturbation out of its ball, in units of [0, 1].

    A millionth, above budgets of 1 that share of them. L1 adds up the rounding of thousands of
    pixels, up to 3e-8 each.
    """
    return 1e-4 if norm == "l1" else 1e-6 * max(1.0, eps)


def per_image(name: str, budget: Budget, x: Tensor) -> Tensor:
    """The budget as one number per image of x, in a shape that broadcasts: (N, 1, 1, 1).

    Raises:
        ValueError: the budget `name` is not finite, is negative, or does not fit the batch.
    """
    if isinstance(budget, Tensor):
        if budget.shape != (len(x),):
            raise ValueError(
                f"{name} is a number or one number per image, ({len(x)},), "
                f"not a tensor of shape {tuple(budget.shape)}"
            )
        valid = bool((budget.isfinite() & (budget >= 0)).all())
        numbers = budget.to(x)
    else:
        valid = math.isfinite(budget) and budget >= 0
        numbers = x.new_full((len(x),), budget)
    if not valid:
        raise ValueError(f"{name} must be finite and not negative, not {budget}")
    return broadcast(numbers)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Direction of unit norm that ascends fastest: sign(g), or g / |g|_2; zero where g is zero.

    In Linf and L2. In L1 it is one pixel of one channel, which no attack here follows.
    """
    assert norm != "l1"
    if norm == "linf":
        return gradient.sign()
    gradient = gradient.nan_to_num()  # sign() takes NaN for 0 and Inf for 1; so must this
    # Scaled to a largest entry of 1 first: squares of a confident model's gradients underflow.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1.0)
    # At least 1, or 0 where the gradient is zero.
    return scaled / broadcast(length(scaled, "l2")).clamp(min=1)


def project(delta: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    """The point of the ball |delta| <= eps nearest to delta in L2; eps is (N, 1, 1, 1)."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    if norm == "l2":
        lengths = broadcast(length(delta, "l2"))
        return delta * torch.where(lengths > eps, eps / lengths, 1.0)
    threshold = broadcast(_soft_threshold(delta.abs().flatten(1), eps.flatten()))
    return delta.sign() * (delta.abs() - threshold).clamp(min=0)


def uniform_in_ball(x: Tensor, eps: Tensor, norm: Norm, generator: torch.Generator) -> Tensor:
    """A perturbation for every image of x, uniform in the ball of radius eps, (N, 1, 1, 1).

    For L2 the direction is that of a normal vector and the radius eps * u^(1/d), d = C * H * W.
    For L1: Laplace variables l_i and an exponential e, eps * l / (e + sum |l_i|) (Barthe et al.,
    "A probabilistic approach to the geometry of the l_p^n-ball", Annals of Probability 2005).
    """
    if norm == "l1":
        sizes, rest = torch.empty_like(x).exponential_(generator=generator), x.new_empty(len(x))
        rest = rest.exponential_(generator=generator)
        signs = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        laplace = torch.where(signs < 0.5, -sizes, sizes)
        return eps * laplace / broadcast(rest + length(laplace, "l1"))
    if norm == "linf":
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return eps * (2 * noise - 1)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    uniform = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    dimensions = math.prod(x.shape[1:])
    return eps * broadcast(uniform.pow(1 / dimensions)) * steepest(noise, "l2")


def uniform_in_unit_ball(norm: Norm, like: Tensor, generator: torch.Generator) -> Tensor:
    """The same of radius 1, for images of the shape of `like`."""
    return uniform_in_ball(like, torch.ones(len(like), 1, 1, 1).to(like), norm, generator)


@dataclass(frozen=True)
class Ball:
    """What an attack may show in place of each image: |x' - x| <= radius, and x' in [0, 1]."""

    x: Tensor
    """(N, C, H, W)"""
    radius: Tensor
    """(N, 1, 1, 1)"""
    norm: Norm

    @classmethod
    def around(cls, x: Tensor, eps: Budget, norm: Norm) -> Self:
        """Raises ValueError for a budget that `per_image` refuses."""
        return cls(x.detach(), per_image("eps", eps, x), norm)

    def __getitem__(self, rows: Tensor) -> Ball:
        """The balls around the images at `rows`, (M,)."""
        return Ball(self.x[rows], self.radius[rows], self.norm)

    def at(self, point: Tensor | None) -> Tensor:
        """The image at a point of the unit ball, (N, C, H, W), cut to [0, 1]; None: x itself."""
        return self.x if point is None else (self.x + self.radius * point).clamp(0, 1)

    def project(self, x_adv: Tensor) -> Tensor:
        """Onto the ball, then onto [0, 1], which stays inside the ball."""
        return (self.x + project(x_adv - self.x, self.radius, self.norm)).clamp(0, 1)


def _soft_threshold(sizes: Tensor, eps: Tensor) -> Tensor:
    """theta >= 0 with sum_i max(sizes_i - theta, 0) = eps, or 0 where the sum is at most eps, (N,).

    Duchi et al., "Efficient projections onto the l1-ball for learning in high dimensions", ICML
    2008, figure 1. Sizes are (N, d) and not negative, eps (N,).
    """
    falling = sizes.sort(dim=1, descending=True).values
    excess = falling.cumsum(dim=1) - eps[:, None]
    ranks = torch.arange(1, sizes.shape[1] + 1, device=sizes.device)
    kept = (falling * ranks > excess).sum(dim=1).clamp(min=1)  # rho: entries that stay non-zero
    theta = excess.gather(1, kept[:, None] - 1).squeeze(1) / kept
    return theta.clamp(min=0)


def broadcast(numbers: Tensor) -> Tensor:
    """A number an image, (N,), against images: (N, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)
