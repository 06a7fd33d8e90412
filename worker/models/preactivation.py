"""Residual networks with pre-activation (He et al. 2016, arXiv 1603.05027).

A block computes x + conv(relu(bn(conv(relu(bn(x)))))). Wide ResNets and PreActResNet are this one
network with different widths and depths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def preactivation_body(*, stem: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """3x3 convolution to `stem` channels, one stage of `blocks` blocks per width, batch norm, ReLU.

    Every stage but the first halves the image: (N, 3, H, W) -> (N, widths[-1], H/r, W/r) with
    r = 2^(len(widths) - 1).
    """
    layers: list[nn.Module] = [_conv3x3(3, stem, stride=1)]
    channels = stem
    for stage, width in enumerate(widths):
        for block in range(blocks):
            halve = stage > 0 and block == 0
            layers.append(PreActivationBlock(channels, width, stride=2 if halve else 1))
            channels = width
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())


def published_names(
    names: Iterable[str], *, blocks: int, block: str, shortcut: str, norm: str, head: str
) -> dict[str, str]:
    """Published names of the weights of a classifier with a pre-activation body, by their own.

    Args:
        names: of the classifier's state; those of its normalisation have no published name.
        blocks: in a stage.
        block: a block's name, with `{stage}` from 1 and `{index}` from 0.
        shortcut: of a block's 1x1 convolution.
        norm, head: the batch norm after the last block, and the linear layer.
    """
    found = {}
    for name in names:
        part, _, rest = name.partition(".")
        if part == "head":
            found[name] = f"{head}.{rest}"
        elif part == "body":
            number, _, weight = rest.partition(".")
            stage, index = divmod(int(number) - 1, blocks)
            if stage < 0:
                found[name] = f"conv1.{weight}"
            elif weight.count(".") == 0:
                found[name] = f"{norm}.{weight}"
            else:
                layer, _, last = weight.partition(".")
                inner = shortcut if layer == "shortcut" else layer
                found[name] = f"{block.format(stage=stage + 1, index=index)}.{inner}.{last}"
    return found


def _conv3x3(in_channels: int, out_channels: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, added to the input.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride=stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels, stride=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return residual + shortcut
