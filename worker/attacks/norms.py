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


def check_budget(name: str, budget: Budget, x: Tensor) -> None:
    """Raises ValueError unless the budget is finite, not negative, and fits the batch x."""
    if isinstance(budget, Tensor):
        if budget.shape != (len(x),):
            raise ValueError(
                f"{name} is a number or one number per image, ({len(x)},), "
                f"not a tensor of shape {tuple(budget.shape)}"
            )
        valid = bool((budget.isfinite() & (budget >= 0)).all())
    else:
        valid = math.isfinite(budget) and budget >= 0
    if not valid:
        raise ValueError(f"{name} must be finite and not negative, not {budget}")


def per_image(budget: Budget, x: Tensor) -> Budget:
    """The budget in a shape that broadcasts over images: (N,) -> (N, 1, 1, 1)."""
    if isinstance(budget, Tensor):
        return budget.to(x).view(-1, *[1] * (x.dim() - 1))
    return budget


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Direction of unit norm that ascends fastest: sign(g), or g / |g|_2; zero where g is zero."""
    if norm == "linf":
        return gradient.sign()
    length = _length(gradient)
    return gradient / torch.where(length > 0, length, 1.0)


def project(delta: Tensor, eps: Budget, norm: Norm) -> Tensor:
    """The point of the ball |delta| <= eps nearest to delta, per image."""
    eps = per_image(eps, delta)
    if norm == "linf":
        return delta.clamp(-eps, eps)
    length = _length(delta)
    return delta * torch.where(length > eps, eps / length, 1.0)


def uniform_in_ball(x: Tensor, eps: Budget, norm: Norm, generator: torch.Generator) -> Tensor:
    """A perturbation for every image of x, uniform in the ball of radius eps.

    For L2 the direction is that of a normal vector and the radius eps * u^(1/d), d = C * H * W.
    """
    eps = per_image(eps, x)
    if norm == "linf":
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return eps * (2 * noise - 1)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    uniform = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    radius = per_image(uniform ** (1 / math.prod(x.shape[1:])), x)
    return eps * radius * steepest(noise, "l2")


def _length(delta: Tensor) -> Tensor:
    """Euclidean norm of every image, (N, C, H, W) -> (N, 1, 1, 1)."""
    return torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.dim())), keepdim=True)
