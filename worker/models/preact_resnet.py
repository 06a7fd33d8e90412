"""PreActResNet-18 for small images (He et al. 2016, arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence

from worker.models.base import Classifier
from worker.models.preactivation import preactivation_body, published_names


class PreActResNet18(Classifier):
    """Four stages of two blocks, 64, 128, 256 and 512 channels wide, a 3x3 stem, no max pooling.

    A batch norm and a ReLU follow the last stage, as in the paper; some public versions for CIFAR
    leave them out.
    """

    def __init__(self, *, num_classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(
            body=preactivation_body(stem=64, widths=[64, 128, 256, 512], blocks=2),
            feature_dim=512,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )

    def published_names(self) -> dict[str, str]:
        """Those of github.com/kuangliu/pytorch-cifar, with the last batch norm as `bn`."""
        return published_names(
            self.state_dict(),
            blocks=2,
            block="layer{stage}.{index}",
            shortcut="shortcut.0",
            norm="bn",
            head="linear",
        )
