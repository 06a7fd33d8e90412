"""Controls: models whose robustness is false on purpose, so that checks have something to find.

Each wraps an honest model, and differs from it in one way that published defences have had.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.models import Classifier, Outputs


class InputQuantised(nn.Module):
    """Rounds each pixel to one of a few grey levels first (gradient shattering).

    Rounding has a gradient of zero nearly everywhere, so that attacks of gradients stand still
    (Athalye et al., ICML 2018, section 3; Guo et al., ICLR 2018, is such a defence).
    """

    def __init__(self, honest: Classifier, *, levels: int = 8) -> None:
        super().__init__()
        self.honest, self.steps = honest, levels - 1

    def outputs(self, x: Tensor) -> Outputs:
        return self.honest.outputs((self.steps * x).round() / self.steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x).logits


class ScaledLogits(nn.Module):
    """Multiplies the logits (defensive distillation, Papernot et al., S&P 2016, did as much).

    The softmax is then exactly one and zero in float32, and the gradient of the cross-entropy
    exactly zero (Carlini and Wagner, 2016, arXiv 1607.04311). Predictions stay as they are.
    """

    def __init__(self, honest: Classifier, *, factor: float = 1e4) -> None:
        super().__init__()
        self.honest, self.factor = honest, factor

    def outputs(self, x: Tensor) -> Outputs:
        seen = self.honest.outputs(x)
        return seen._replace(logits=self.factor * seen.logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.outputs(x).logits


class SmallNet(Classifier):
    """Two strided convolutions: learns a little of CIFAR-10 within seconds."""

    def __init__(self, num_classes: int = 10) -> None:
        body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        super().__init__(
            body=body,
            feature_dim=32,
            num_classes=num_classes,
            mean=(0.49, 0.48, 0.45),
            std=(0.25, 0.24, 0.26),
        )


def train_briefly(
    model: Classifier, x: Tensor, y: Tensor, *, epochs: int, eps: float, seed: int = 0
) -> Classifier:
    """Fast adversarial training (Wong et al., ICLR 2020): one step of 1.25 eps from a random start.

    Args:
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,).
        eps: in units of [0, 1]; 0 trains on clean images.

    Returns:
        The model in eval mode, with parameters that take no gradients.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(50):
            images, classes = x[rows], y[rows]
            delta = eps * (2 * torch.rand(images.shape, generator=generator) - 1)
            if eps > 0:
                attacked = (images + delta).requires_grad_()
                loss = nn.functional.cross_entropy(model(attacked), classes)
                (gradient,) = torch.autograd.grad(loss, attacked)
                delta = (delta + 1.25 * eps * gradient.sign()).clamp(-eps, eps)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model((images + delta).clamp(0, 1)), classes)
            loss.backward()
            optimiser.step()
    return model.eval().requires_grad_(False)
