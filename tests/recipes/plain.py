"""Every recipe written out, equation by equation, without the lab's own functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.recipes.toy_batch import SEED, ToyBatch
from worker.recipes import Parameters

Terms = dict[str, Tensor]


@dataclass
class Plain:
    loss: Tensor
    terms: Terms
    clean: Tensor | None
    """Log-probabilities of x in train mode, (N, K)."""
    adversarial: Tensor | None


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def uniform(like: Tensor, n: int) -> Tensor:
    return torch.rand(n, *like.shape[1:], generator=generator(), dtype=like.dtype)


def attack(
    student: Any,
    x: Tensor,
    classes: Tensor,
    uniform: Tensor,
    parameters: Parameters,
    *,
    towards: bool,
) -> Tensor:
    eps, step = parameters.attack.eps, parameters.attack.step_size
    x_adv = (x + eps * (2 * uniform - 1)).clamp(0, 1)
    for _ in range(parameters.attack.steps):
        x_adv.requires_grad_()
        loss = F.cross_entropy(student(x_adv), classes)
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = x_adv.detach() + (-step if towards else step) * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    return x_adv


def confusing(student: Any, batch: ToyBatch) -> Tensor:
    logits = student(batch.x).detach()
    logits[range(len(logits)), batch.y] = -1e9
    return logits.argmax(dim=1)


def train_pass(student: Any, *images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features, embeddings and log-probabilities of one batch in train mode."""
    student.train()
    features = student.body((torch.cat(images) - 0.5) / 0.25)
    embedding = features.flatten(2).mean(dim=2)
    return features, embedding, student.head(embedding).log_softmax(dim=1)


def smoothed(log_p: Tensor, y: Tensor, s: float) -> Tensor:
    n, classes = log_p.shape
    labels = torch.full_like(log_p, s / (classes - 1), requires_grad=False)
    labels[range(n), y] = 1 - s
    return -(labels * log_p).sum() / n


def mart_extra(log_p_adv: Tensor, log_p: Tensor, y: Tensor, beta: float) -> Tensor:
    every = range(len(y))
    others = log_p_adv.exp().clone()
    others[every, y] = 0
    kl = F.kl_div(log_p_adv, log_p.exp(), reduction="none").sum(dim=1)
    doubt = 1.0000001 - log_p.exp()[every, y]
    return (-(1.0001 - others.amax(dim=1) + 1e-12).log() + beta * kl * doubt).mean()


def triplet(a: Tensor, p: Tensor, n: Tensor, margin: float, mu: float) -> Tensor:
    unit = [e / e.square().sum(dim=1, keepdim=True).sqrt() for e in (a, p, n)]
    near, far = (1 - (unit[0] * other).sum(dim=1).abs() for other in unit[1:])
    sizes = a.square().mean() + p.square().mean() + n.square().mean()
    return (margin + near - far).clamp(min=0).mean() + mu * sizes


def attention(features: Tensor) -> Tensor:
    sums = features.sum(dim=1)
    low, high = sums.amin(dim=(1, 2)), sums.amax(dim=(1, 2))
    return (sums - low[:, None, None]) / (high - low)[:, None, None]


def classified(log_p_adv: Tensor, log_p: Tensor, y: Tensor, parameters: Parameters) -> Terms:
    w = parameters.weights
    terms = {"classification": smoothed(log_p_adv, y, w.smoothing)}
    if w.mart_beta is not None:
        terms["mart"] = mart_extra(log_p_adv, log_p, y, w.mart_beta)
    return terms


def clean(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    _, _, log_p = train_pass(student, batch.x)
    loss = smoothed(log_p, batch.y, parameters.weights.smoothing)
    return Plain(loss, {"classification": loss}, log_p, None)


def chosen(batch: ToyBatch, student: Any, parameters: Parameters) -> Tensor:
    towards = parameters.towards_confusing
    classes = confusing(student, batch) if towards else batch.y
    start = uniform(batch.x, len(batch.x))
    return attack(student, batch.x, classes, start, parameters, towards=towards)


def pgd_at(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    x_adv = chosen(batch, student, parameters)
    _, _, log_p = train_pass(student, x_adv)
    loss = smoothed(log_p, batch.y, parameters.weights.smoothing)
    return Plain(loss, {"classification": loss}, None, log_p)


def trades(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    x, eps, step = batch.x, parameters.attack.eps, parameters.attack.step_size
    p = student(x).softmax(dim=1).detach()
    x_adv = x + 0.001 * torch.randn(x.shape, generator=generator(), dtype=x.dtype)
    for _ in range(parameters.attack.steps):
        x_adv.requires_grad_()
        moved = F.kl_div(student(x_adv).log_softmax(dim=1), p, reduction="sum")
        (gradient,) = torch.autograd.grad(moved, x_adv)
        x_adv = x_adv.detach() + step * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    _, _, seen = train_pass(student, x_adv, x)
    log_p_adv, log_p = seen.chunk(2)
    stability = F.kl_div(log_p_adv, log_p.exp(), reduction="batchmean")
    classification = smoothed(log_p, batch.y, parameters.weights.smoothing)
    loss = classification + parameters.trades_beta * stability
    return Plain(loss, {"classification": classification, "trades": stability}, log_p, log_p_adv)


def rslad(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    x, eps, step = batch.x, parameters.attack.eps, parameters.attack.step_size
    p = batch.teacher(x).softmax(dim=1).detach()
    x_adv = x + 0.001 * torch.randn(x.shape, generator=generator(), dtype=x.dtype)
    for _ in range(parameters.attack.steps):
        x_adv.requires_grad_()
        far = F.kl_div(student(x_adv).log_softmax(dim=1), p, reduction="sum")
        (gradient,) = torch.autograd.grad(far, x_adv)
        x_adv = x_adv.detach() + step * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - eps), x + eps).clamp(0, 1)
    _, _, seen = train_pass(student, x_adv, x)
    log_p_adv, log_p = seen.chunk(2)
    robust, natural = (F.kl_div(q, p, reduction="batchmean") for q in (log_p_adv, log_p))
    terms = {"distillation_robust": robust, "distillation_clean": natural}
    return Plain(robust * 5 / 6 + natural / 6, terms, log_p, log_p_adv)


def mart(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    x_adv = chosen(batch, student, parameters)
    _, _, seen = train_pass(student, x_adv, batch.x)
    log_p_adv, log_p = seen.chunk(2)
    terms = classified(log_p_adv, log_p, batch.y, parameters)
    return Plain(terms["classification"] + terms["mart"], terms, log_p, log_p_adv)


def sml(batch: ToyBatch, student: Any, parameters: Parameters) -> Plain:
    y_prime = confusing(student, batch)
    start = uniform(batch.x, len(batch.x))
    x_f = attack(student, batch.x, y_prime, start, parameters, towards=True)
    _, embedding, seen = train_pass(student, x_f, batch.x, batch.pool[y_prime])
    log_p_adv, log_p, _ = seen.chunk(3)
    w, terms = parameters.weights, classified(log_p_adv, log_p, batch.y, parameters)
    metric = triplet(*embedding.chunk(3), w.margin, w.mu)
    loss = sum(terms.values()) + w.bml_weight * metric
    return Plain(loss, terms | {"sml": metric}, log_p, log_p_adv)


def of_both_directions(
    batch: ToyBatch, student: Any, parameters: Parameters, terms_of: set[str]
) -> Plain:
    n, y_prime = len(batch.x), confusing(student, batch)
    x_prime, start, w = batch.pool[y_prime], uniform(batch.x, 2 * n), parameters.weights
    x_f = attack(student, batch.x, y_prime, start[:n], parameters, towards=True)
    x_b = attack(student, x_prime, batch.y, start[n:], parameters, towards=True)
    features, embedding, seen = train_pass(student, x_f, batch.x, x_b)
    log_p_adv, log_p, _ = seen.chunk(3)
    terms = classified(log_p_adv, log_p, batch.y, parameters)
    loss = sum(terms.values())
    if "agkd" in terms_of:
        with torch.no_grad():
            images = torch.cat([batch.x, x_prime])
            taught = attention(batch.teacher.body((images - 0.5) / 0.25))
        maps = attention(features)
        forward, backward = maps[:n] - taught[:n], maps[2 * n :] - taught[n:]
        terms["agkd"] = forward.abs().mean() + backward.abs().mean()
        loss = loss + w.agkd_weight * terms["agkd"]
    if "bml" in terms_of:
        terms["bml"] = triplet(*embedding.chunk(3), w.margin, w.mu)
        loss = loss + w.bml_weight * terms["bml"]
    return Plain(loss, terms, log_p, log_p_adv)


PLAIN: dict[str, Callable[[ToyBatch, Any, Parameters], Plain]] = {
    "clean": clean,
    "pgd_at": pgd_at,
    "trades": trades,
    "rslad": rslad,
    "mart": mart,
    "sml": sml,
    "agkd": lambda *given: of_both_directions(*given, {"agkd"}),
    "bml": lambda *given: of_both_directions(*given, {"bml"}),
    "agkd_bml": lambda *given: of_both_directions(*given, {"agkd", "bml"}),
}
