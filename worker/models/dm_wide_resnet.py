"""The Wide ResNet of Gowal et al. (2020, arXiv 2010.03593), which many of RobustBench's best use.

WRN-d-k with SiLU for ReLU, and convolutions of stride 2 that are padded at the far sides alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from worker.models.base import Classifier
from worker.models.wide_resnet import blocks_of


class DMWideResNet(Classifier):
    """Three stages of (d - 4) / 6 blocks, 16k, 32k and 64k channels wide.

    Args:
        depth: d, with d - 4 a positive multiple of 6.
        widen_factor: k, at least 1.

    Raises:
        ValueError: no such depth or width.
    """

    def __init__(
        self,
        *,
        depth: int,
        widen_factor: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        blocks, channels = blocks_of(depth, widen_factor), 16
        stages = []
        for stage in range(3):
            width = 16 * 2**stage * widen_factor
            stride = 1 if stage == 0 else 2
            first = _Block(channels, width, stride)
            rest = (_Block(width, width, 1) for _ in range(blocks - 1))
            stages.append(nn.Sequential(OrderedDict(block=nn.Sequential(first, *rest))))
            channels = width
        body = OrderedDict[str, nn.Module](
            init_conv=nn.Conv2d(3, 16, 3, padding=1, bias=False),
            layer=nn.Sequential(*stages),
            batchnorm=nn.BatchNorm2d(channels),
            silu=nn.SiLU(),
        )
        super().__init__(
            body=nn.Sequential(body),
            feature_dim=channels,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )

    def published_names(self) -> dict[str, str]:
        """Those of the authors' code, which RobustBench keeps."""
        return {
            name: name.removeprefix("body.").replace("head.", "logits.")
            for name in self.state_dict()
            if name.startswith(("body.", "head."))
        }


class _Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and SiLU, added to the input.

    Where the width changes, to a 1x1 convolution of the activated input.
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(before)
        self.conv_0 = nn.Conv2d(before, width, 3, stride, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        # What TensorFlow calls SAME: left, right, top, bottom.
        self._padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, width, H / stride, W / stride)."""
        activated = F.silu(self.batchnorm_0(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        inner = self.conv_0(F.pad(activated, self._padding))
        residual: Tensor = self.conv_1(F.silu(self.batchnorm_1(inner)))
        return residual + shortcut
