"""Adversarial weight perturbation (Wu, Xia, Wang, NeurIPS 2020, arXiv 2004.05884).

Adversarial training flattens the loss around images; AWP flattens it around the weights, too. Any
recipe may be trained so. With w the weights, L(w) the recipe's loss on the adversarial examples of
a step, made at w and held, and g_l = dL / dw_l for each layer l, a step is

    v_l = gamma ||w_l|| g_l / ||g_l||        (one step of ascent, as large as the layer allows)
    w  <-  SGD step from w + v by dL(w + v) / dw  -  v

The authors' code (github.com/csdongxian/AWP, `utils_awp.py`) gets g from a proxy: a copy of the
network that takes one step of SGD up the loss. The length of that step cancels, so here g is the
gradient itself. As there, only weights with more than one dimension move, biases and batch norms do
not; the proxy's pass, in train mode, leaves no trace in the batch norms' running statistics, while
the pass at w + v does; weight decay sees w + v; and the norms count over a whole layer. They use
gamma 0.01 for PGD-AT and 0.005 for TRADES, the latter after 10 epochs without.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from worker.models import Classifier
from worker.recipes.base import Objective
from worker.team import ALL, Share

_EPS = 1e-20
"""Added to a gradient's norm, so that a layer without gradient stays; the authors' value."""


def perturb(
    student: Classifier, objective: Objective, *, gamma: float, share: Share = ALL
) -> Callable[[], None]:
    """Move the weights from w to w + v; returns what takes v off again.

    Costs one forward and backward pass of the objective. Nothing moves off the device.

    Args:
        gamma: ||v_l|| / ||w_l||, the same for every layer, at least 0.
        share: of the batch that the objective sees; g is the gradient on the whole batch.
    """
    moved: list[Tensor] = [
        weight
        for name, weight in student.named_parameters()
        if weight.dim() > 1 and "weight" in name
    ]
    statistics = [(buffer, buffer.clone()) for buffer in student.buffers()]
    own = torch.autograd.grad(
        share.weighed(objective().loss), moved, allow_unused=True, materialize_grads=True
    )
    gradients = share.averaged(own)
    with torch.no_grad():
        for buffer, before in statistics:
            buffer.copy_(before)
        by = [
            gamma * weight.norm() / (gradient.norm() + _EPS) * gradient
            for weight, gradient in zip(moved, gradients, strict=True)
        ]
        torch._foreach_add_(moved, by)

    @torch.no_grad()
    def restore() -> None:
        torch._foreach_sub_(moved, by)

    return restore
