"""The geometry of a perturbation budget: unit steps, projection and random starts, Linf and L2.

Images are (N, C, H, W) in [0, 1]. A budget is one float for the whole batch, or a tensor (N,) with
one value per image.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
Budget = float | Tensor


def check_norm(norm: str) -> None:
    """Raises ValueError unless `norm` is one of `Norm`."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm is one of {', '.join(get_args(Norm))}, not {norm!r}")


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
    return _broadcast(numbers)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Direction of unit norm that ascends fastest: sign(g), or g / |g|_2; zero where g is zero."""
    if norm == "linf":
        return gradient.sign()
    # Scaled to a largest entry of 1 first: squares of a confident model's gradients underflow.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1.0)
    return scaled / _length(scaled).clamp(min=1)  # at least 1, or 0 where the gradient is zero


def project(delta: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    """The point of the ball |delta| <= eps nearest to delta; eps is (N, 1, 1, 1)."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    length = _length(delta)
    return delta * torch.where(length > eps, eps / length, 1.0)


def uniform_in_ball(x: Tensor, eps: Tensor, norm: Norm, generator: torch.Generator) -> Tensor:
    """A perturbation for every image of x, uniform in the ball of radius eps, (N, 1, 1, 1).

    For L2 the direction is that of a normal vector and the radius eps * u^(1/d), d = C * H * W.
    """
    if norm == "linf":
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return eps * (2 * noise - 1)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    uniform = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    dimensions = math.prod(x.shape[1:])
    return eps * _broadcast(uniform.pow(1 / dimensions)) * steepest(noise, "l2")


def _broadcast(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1)  # (N,) -> (N, 1, 1, 1)


def _length(delta: Tensor) -> Tensor:
    """Euclidean norm of every image, (N, C, H, W) -> (N, 1, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return length
