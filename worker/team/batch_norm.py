"""Batch norms that see the images of all processes, as those of one process would.

Of N numbers x of a channel, in all processes, with mean m and variance v,

    y = gamma (x - m) / sqrt(v + eps) + beta,

and for a loss L that is the sum over the processes, with g = dL/dy and z = (x - m) / sqrt(v + eps),

    dL/dx = gamma / sqrt(v + eps) * (g - mean(g) - z mean(g z))          (Ioffe and Szegedy, 2015)

The means are over all N numbers. Each process exchanges three numbers a channel on the way forward
and two on the way back. torch's own SyncBatchNorm computes the same and knows GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Synchronised(TorchFunctionMode):
    """Within it every batch norm in train mode sees the images of all processes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm`, with its arguments."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, variance, count = _moments(input)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * (count / (count - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    normalised: Tensor = _Normalise.apply(input, weight, bias, mean, variance, count, eps)
    return normalised


@torch.no_grad()
def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) of x (N, C, ...) in all processes, and how many numbers they are of.

    Put together from each process's own, so that nothing is lost where the mean is large.
    """
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    dims, numbers = [0, *range(2, x.dim())], x.numel() / x.shape[1]
    mean = wide.sum(dim=dims) / numbers
    # `torch.var_mean` takes thirty times as long on a CPU.
    variance = (wide - _along(mean, x)).square_().sum(dim=dims) / numbers
    own = torch.cat([mean, variance, mean.new_full((1,), numbers)])
    every = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather(list(every.unbind()), own)
    # A row a process.
    means, variances, counts = torch.split(every, [len(mean), len(mean), 1], dim=1)
    count = counts.sum()
    shares = counts / count
    mean = (shares * means).sum(dim=0)
    variance = (shares * (variances + (means - mean).square())).sum(dim=0)
    return mean, variance, count


class _Normalise(torch.autograd.Function):
    """y of x, given the moments that follow from x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        (g,) = gradients
        # As if the moments did not follow from x; and the sums over the images here.
        direct, of_gz, of_g = torch.ops.aten.native_batch_norm_backward(
            g, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        total = torch.stack([of_g, of_gz])
        dist.all_reduce(total)
        along, across = (total / count).unbind()
        scale = (variance + ctx.eps).rsqrt()
        factor = scale if weight is None else scale * weight
        to_x = torch.addcmul(direct, x - _along(mean, x), _along(-factor * scale * across, x))
        to_x -= _along(factor * along, x)
        to_weight, to_bias = (None, None) if weight is None else (of_gz, of_g)
        return to_x.to(x.dtype), to_weight, to_bias, None, None, None, None


def _along(numbers: Tensor, x: Tensor) -> Tensor:
    """A number a channel, (C,), against x (N, C, ...)."""
    return numbers.view(1, -1, *[1] * (x.dim() - 2))
