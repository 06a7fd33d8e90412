"""Measurements of small models whose robustness can be worked out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from app.contracts.params import Attack, EvaluateParams
from app.contracts.results import Lineage
from worker.evaluation.arguments import unit_noise
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk, Source, TargetModel
from worker.models import Classifier

SIDE = 8


class LinearNet(Classifier):
    """Two classes, logits (w . x + b, 0): class 0 where w . x + b > 0."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(
            body=nn.Conv2d(3, 2, SIDE), feature_dim=2, num_classes=2, mean=[0.0] * 3, std=[1.0] * 3
        )
        torch.manual_seed(seed)
        weight = torch.randn(3, SIDE, SIDE)
        with torch.no_grad():
            self.body.weight.copy_(torch.stack([weight, torch.zeros_like(weight)]))
            self.body.bias.copy_(torch.tensor([-0.5 * float(weight.sum()), 0.0]))
            self.head.weight.copy_(torch.eye(2))
        self.eval().requires_grad_(False)

    def budgets(self, x: Tensor, order: float) -> Tensor:
        """The smallest budget that changes each answer, in the norm dual to `order`, (N,).

        |w . x + b| / |w|_order, as long as no pixel has to leave [0, 1].
        """
        logits = self(x).double()
        weight = self.body.weight[0].double().flatten()
        return (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(weight, order)


def grey(n: int, seed: int = 0) -> Tensor:
    """Images (n, 3, 8, 8) around the middle grey, with room on both sides."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.02 * torch.randn(n, 3, SIDE, SIDE, generator=generator)


def middle(budgets: Tensor) -> float:
    """A budget that half of the images withstand, and none by a hair."""
    falling = budgets.sort().values
    at = len(falling) // 2
    return float(falling[at - 1] + falling[at]) / 2


def lineage(name: str) -> Lineage:
    return Lineage(id=(name * 32)[:32], name=name, sha256="0" * 64)


def target_model(model: Classifier, name: str = "a") -> TargetModel:
    return TargetModel(lineage=lineage(name), model=model, call=model)


def params(attack: Attack | None = None, **changes: Any) -> EvaluateParams:
    """Of nothing but the main attack at 8/255."""
    plain = {
        "models": ("a" * 32,),
        "dataset": "d" * 32,
        "attack": attack or Attack(steps=10),
        "epsilons": (),
        "step_counts": (),
        "minimal_epsilon": False,
        "attention": False,
    }
    return EvaluateParams.model_validate(plain | changes)


def measured(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    chosen: EvaluateParams,
    *,
    sources: tuple[Source, ...] = (),
    chunks: int = 1,
) -> Measurement:
    """After all images, in so many chunks."""
    classes = [str(label) for label in range(model.num_classes)]
    measurement = Measurement(target_model(model), chosen, classes, sources)
    meter = Meter(lambda done, total, phase: None)
    for index, rows in enumerate(torch.arange(len(x)).chunk(chunks)):
        numbers = tuple(rows.tolist())
        chunk = Chunk(x=x[rows], y=y[rows], numbers=numbers, masks=None, index=index)
        norm = chosen.attack.norm.value
        measurement.measure(chunk, unit_noise(chunk.x, norm, chosen.seed, numbers), meter)
    return measurement
