"""A small classifier with batch norm that remembers how it was called."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.models import Classifier, Outputs

CLASSES = 4


class Recording(Classifier):
    """Images (N, 3, 8, 8) -> features (N, 6, 4, 4); notes how each call came."""

    def __init__(self) -> None:
        body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 6, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        super().__init__(
            body=body, feature_dim=6, num_classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3
        )
        self.calls: list[tuple[bool, bool, Tensor]] = []

    def outputs(self, x: Tensor) -> Outputs:
        self.calls.append((self.training, torch.is_grad_enabled(), x.detach().clone()))
        return super().outputs(x)


def recording(seed: int) -> Recording:
    """In double precision and eval mode, with running statistics that are not 0 and 1."""
    torch.manual_seed(seed)
    model = Recording().double()
    with torch.no_grad():
        model.train()(torch.rand(16, 3, 8, 8, dtype=torch.float64))
    model.calls.clear()
    return model.eval()
