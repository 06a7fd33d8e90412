"""A small network, in double precision so that two ways to the same point agree."""

import pytest
import torch
from torch import nn


@pytest.fixture
def network() -> nn.Sequential:
    """Images (N, 3, 8, 8) -> 4 logits; convolutions, batch norm, in eval mode."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 4),
    )
    return model.double().eval()
