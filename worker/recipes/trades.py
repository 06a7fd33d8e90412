"""TRADES (Zhang et al., ICML 2019, arXiv 1901.08573): accuracy on clean images against stability
around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.classification import smoothed_cross_entropy
from worker.agkd_bml.examples import TrainingAttack
from worker.attacks import Model
from worker.attacks.norms import Ball, per_image
from worker.attacks.pgd import check_steps, climb
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step

_START = 0.001
"""Standard deviation of the normal noise at which the attack starts; the authors' value."""


def trades(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x), y) + beta * KL(S(x) || S(x_adv)), mean over images.

    x_adv approaches the maximum of KL(S(x) || S(.)) in the ball, S in eval mode, from x plus a
    little normal noise. Gradients flow through both sides of the divergence, as in the authors'
    code. The student sees x_adv and x as one batch, as in all recipes here; the authors' code shows
    it one after the other.
    """
    student = networks.attacked()
    with torch.no_grad():
        clean = student(batch.x)
    x_adv = furthest_from(clean, student, batch, parameters.attack)

    def objective() -> Step:
        adversarial, seen = networks.student_sees(x_adv, batch.x)
        classification = smoothed_cross_entropy(
            seen.logits, batch.y, smoothing=parameters.weights.smoothing
        )
        stability = divergence(seen.logits, adversarial.logits).mean()
        terms = {"classification": classification, "trades": stability}
        loss = classification + parameters.trades_beta * stability
        return Step(loss, terms, seen.logits, adversarial.logits)

    return objective


def divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """KL(p || p') of two softmax distributions, image by image: (N, K) twice -> (N,)."""
    log_p, log_p_adv = F.log_softmax(logits, dim=1), F.log_softmax(logits_adv, dim=1)
    return (log_p.exp() * (log_p - log_p_adv)).sum(dim=1)


def furthest_from(
    predicted: Tensor, student: Model, batch: Batch, attack: TrainingAttack
) -> Tensor:
    """Images of the ball whose predictions are far from `predicted`, in KL; (N, 3, H, W) in [0, 1].

    Args:
        predicted: logits for each image of the batch, (N, K), without gradient.
        student: in eval mode.
    """
    x = batch.x
    check_steps(x, batch.y, attack.steps, "linf", noise=None)
    ball = Ball.around(x, attack.eps, "linf")

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = student(x_adv)
        return divergence(predicted[rows], logits), logits

    def normal(count: int) -> Tensor:
        shape, generator = (count, *x.shape[1:]), batch.generator
        return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)

    start = ball.project(x + _START * batch.share.drawn(len(x), normal))
    return climb(objective, start, ball, per_image("step_size", attack.step_size, x), attack.steps)
