"""What the tests of the attacks share: images, norms, and a model with a known best attack."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from worker.attacks import Norm, Steps, iterative, pgd
from worker.attacks.iterative import IterativeAttack
from worker.attacks.norms import uniform_in_ball

LP: list[Norm] = ["linf", "l2"]
"""The norms of gradient steps."""
NORMS: list[Norm] = [*LP, "l1"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    x = torch.rand(n, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (n,), generator=generator)


def unit_noise(x: Tensor, norm: Norm, seed: int = 0) -> Tensor:
    """A point of the unit ball for every image, in whatever type and layout x has."""
    unit = torch.ones(len(x), 1, 1, 1, dtype=x.dtype)
    return uniform_in_ball(x, unit, norm, seeded(seed))


def size(delta: Tensor, norm: str) -> Tensor:
    delta = delta.flatten(1)
    if norm == "l1":
        return delta.abs().sum(dim=1)
    return delta.abs().amax(dim=1) if norm == "linf" else delta.square().sum(dim=1).sqrt()


def affine(classes: int, seed: int = 0) -> nn.Sequential:
    """Images (N, 3, 4, 4) -> logits that are affine in them, and all 0 for plain grey."""
    head = nn.Linear(48, classes).double().requires_grad_(False)
    weight = torch.randn(classes, 48, generator=seeded(seed), dtype=torch.float64)
    head.weight.copy_(weight)
    head.bias.copy_(-0.5 * weight.sum(dim=1))
    return nn.Sequential(nn.Flatten(), head)


def grey(n: int) -> Tensor:
    """Images (N, 3, 4, 4) far from black and white."""
    return 0.4 + 0.2 * torch.rand(n, 3, 4, 4, generator=seeded(1), dtype=torch.float64)


class Linear(nn.Module):
    """Two classes, logits (w . x, 0): the best attack on class 0 goes straight along -w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3 * 4 * 4, generator=seeded(), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.w
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    def optimum(self, x: Tensor, eps: float, norm: str) -> Tensor:
        direction = self.w.sign() if norm == "linf" else self.w / self.w.square().sum().sqrt()
        return x - eps * direction.detach().view(3, 4, 4)


def start_of(model: nn.Module, x: Tensor, y: Tensor, **arguments: Any) -> Tensor:
    """The random start: an attack whose only step has no length stays there."""
    return pgd(model, x, y, **(arguments | {"steps": 1, "step_size": 0.0}))


class Recorder(TorchDispatchMode):
    """Every operation that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls.append((str(func), args))
        return func(*args, **(kwargs or {}))


ATTACKS: dict[str, IterativeAttack] = {
    "fgsm": iterative.PGD,
    "bim": iterative.PGD,
    "pgd": iterative.PGD,
    "mi_fgsm": iterative.MI_FGSM,
    "cw": iterative.CW,
    "apgd_ce": iterative.APGD_CE,
    "apgd_dlr": iterative.APGD_DLR,
}


def steps_of(method: str, steps: int, relative_step: float, random_start: bool) -> Steps:
    """An attack by the name that papers use; FGSM takes one step, and with BIM no random start."""
    if method == "fgsm":
        return iterative.FGSM
    return Steps(ATTACKS[method], steps, relative_step, random_start and method != "bim")
