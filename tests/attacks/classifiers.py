"""A small model whose boundary bends and lies far, so that attacks take many steps to reach it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.attacks.oracle import seeded


class Sine(nn.Module):
    """sin(6 z): bends everywhere."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.sin(6 * z)


def bent_network(lead: float = 1.5) -> nn.Module:
    """Images (N, 3, 8, 8) -> 6 logits in double precision; with its lead, most are of class 0."""
    torch.manual_seed(3)
    last = nn.Linear(8 * 4 * 4, 6, dtype=torch.float64)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, dtype=torch.float64),
        Sine(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, dtype=torch.float64),
        Sine(),
        nn.Flatten(),
        last,
    ).eval()
    with torch.no_grad():
        last.bias[0] += lead
    return model


def classified(model: nn.Module, n: int = 48) -> tuple[Tensor, Tensor]:
    """Random images, and the classes that the model gives them."""
    x = torch.rand(n, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        return x, model(x).argmax(dim=1)


class Seen:
    """A model that keeps the images it was shown."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.images: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.images.append(x.detach().clone())
        logits: Tensor = self.model(x)
        return logits
