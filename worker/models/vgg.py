"""VGG with batch norm for small images (Simonyan & Zisserman, ICLR 2015, arXiv 1409.1556).

The networks of pytorch-cifar: one linear layer after five poolings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from worker.models.base import Classifier, Outputs

_STAGES: Mapping[int, tuple[int, ...]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
DEPTHS = tuple(_STAGES)
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(Classifier):
    """Five stages of 3x3 convolutions, each halved by max pooling.

    F(x) is the last stage before its pooling: on images of 32 pixels, a map of 2 x 2.

    Args:
        depth: one of `DEPTHS`.
    """

    def __init__(
        self, *, depth: int, num_classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width, count in zip(_WIDTHS, _STAGES[depth], strict=True):
            for _ in range(count):
                convolution = nn.Conv2d(channels, width, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(
            body=nn.Sequential(*layers[:-1]),
            feature_dim=channels,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )

    def read_out(self, features: Tensor) -> Outputs:
        """Embedding and logits that follow from the map before the last pooling."""
        pooled = super().read_out(F.max_pool2d(features, 2))
        return pooled._replace(features=features)

    def published_names(self) -> dict[str, str]:
        """Those of github.com/kuangliu/pytorch-cifar."""
        return {
            name: name.replace("body.", "features.").replace("head.", "classifier.")
            for name in self.state_dict()
            if name.startswith(("body.", "head."))
        }
