"""Residual networks for small images (He et al., CVPR 2016, arXiv 1512.03385): a 3x3 stem, no max
pooling, batch norm and ReLU after each convolution.

The ResNet-18, 34, 50, ... of pytorch-cifar, which MART, AWP and many papers after them train.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from worker.models.base import Classifier

_BLOCKS: Mapping[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
DEPTHS = tuple(_BLOCKS)
_BOTTLENECKS_FROM = 50


class ResNet(Classifier):
    """Four stages, 64, 128, 256 and 512 channels wide, four times that with bottlenecks.

    Args:
        depth: one of `DEPTHS`; from 50 on, blocks are bottlenecks.
    """

    def __init__(
        self, *, depth: int, num_classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        widening = 4 if depth >= _BOTTLENECKS_FROM else 1
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=_conv(3, 64, 3), bn1=nn.BatchNorm2d(64), relu=nn.ReLU()
        )
        channels = 64
        for stage, count in enumerate(_BLOCKS[depth]):
            width, blocks = 64 * 2**stage, []
            for index in range(count):
                halve = stage > 0 and index == 0
                blocks.append(_Block(channels, width, widening, stride=2 if halve else 1))
                channels = widening * width
            layers[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        super().__init__(
            body=nn.Sequential(layers),
            feature_dim=channels,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )

    def published_names(self) -> dict[str, str]:
        """Those of github.com/kuangliu/pytorch-cifar."""
        return self._named("shortcut", "linear")

    def further_names(self) -> tuple[dict[str, str], ...]:
        """Those of code that goes back to torchvision's, with a stem for small images."""
        return self._named("downsample", "fc"), self._named("shortcut", "fc")

    def _named(self, shortcut: str, head: str) -> dict[str, str]:
        return {
            name: name.removeprefix("body.").replace("shortcut", shortcut).replace("head", head)
            for name in self.state_dict()
            if name.startswith(("body.", "head."))
        }


class _Block(nn.Module):
    """Two 3x3 convolutions, or one between two of 1x1, added to the input, then a ReLU."""

    def __init__(self, before: int, width: int, widening: int, *, stride: int) -> None:
        super().__init__()
        after = widening * width
        kernels = (3, 3) if widening == 1 else (1, 3, 1)
        widths = (before, *[width] * (len(kernels) - 1), after)
        self._depth = len(kernels)
        halving = kernels.index(3)
        for n, kernel in enumerate(kernels):
            step = stride if n == halving else 1
            self.add_module(f"conv{n + 1}", _conv(widths[n], widths[n + 1], kernel, step))
            self.add_module(f"bn{n + 1}", nn.BatchNorm2d(widths[n + 1]))
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)."""
        seen = x
        for n in range(1, self._depth + 1):
            seen = self.get_submodule(f"bn{n}")(self.get_submodule(f"conv{n}")(seen))
            if n < self._depth:
                seen = F.relu(seen)
        return F.relu(seen + self.shortcut(x))


def _conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
