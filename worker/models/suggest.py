"""Which architecture the weights of a file fit, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from worker.models.build import build
from worker.models.matching import Mismatch, Named, Shape, match
from worker.models.resnet import DEPTHS as RESNETS
from worker.models.timm_models import timm_network
from worker.models.vgg import DEPTHS as VGGS

_OF_CIFAR = (
    *(f"resnet-{depth}" for depth in RESNETS),
    *(f"vgg-{depth}" for depth in VGGS),
    "preactresnet-18",
)
_SIZES = ("tiny", "small", "base")
_OF_TIMM: Mapping[str, Sequence[str]] = {
    r"layer1\.0\.": (
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *("wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d"),
    ),
    r"denseblock1\.": tuple(f"densenet{depth}" for depth in (121, 169, 201)),
    r"features\.0\.": tuple(f"vgg{depth}{norm}" for depth in VGGS for norm in ("", "_bn")),
    r"blocks\.0\.0\.": (
        *(f"efficientnet_b{size}" for size in range(4)),
        *("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100"),
    ),
    r"s1\.b1\.": ("regnety_004", "regnety_008", "regnety_016", "regnety_032"),
    r"stages\.0\.blocks\.": tuple(f"convnext_{size}" for size in _SIZES),
    r"layers\.0\.blocks\.": tuple(f"swin_{size}_patch4_window7_224" for size in _SIZES),
    r"blocks\.0\.attn\.": (
        *(f"vit_{size}_patch16_224" for size in (*_SIZES, "large")),
        *("vit_small_patch32_224", "vit_base_patch32_224", "vit_base_patch8_224"),
    ),
}
"""Those that most weights are of, by what their names have in common."""
_WIDE = re.compile(r"(.*\.)?(block1\.layer|layer\.0\.block)\.(\d+)\.conv_?1\.weight")
_OWN = re.compile(r"(.*\.)?body\.(\d+)\.conv1\.weight")


def fitting(shapes: Mapping[str, Shape], within: str = "") -> str | None:
    """The first architecture whose names and shapes a file has; None where none is known.

    Args:
        shapes: of every tensor in the file, by its name.
        within: how the names of the network begin that is meant, without the last dot.
    """
    for architecture in _candidates(shapes):
        # A network on the meta device has names and shapes, and takes no memory and no time.
        with suppress(Mismatch, ValueError), torch.device("meta"):
            match(_outline(architecture), shapes, within=within, same=lambda name, other: True)
            return architecture
    return None


def _outline(architecture: str) -> Named:
    kind, _, name = architecture.partition(":")
    if kind == "timm":
        return _OfTimm(timm_network(name, num_classes=2))
    return build(architecture, num_classes=2, mean=(0, 0, 0), std=(1, 1, 1))


class _OfTimm:
    """A network of timm by its own names; its head is where `match` looks for one."""

    unused = ()

    def __init__(self, network: nn.Module) -> None:
        head: str = network.pretrained_cfg["classifier"]  # type: ignore[index, assignment]
        self._names = {
            name.replace(f"{head}.", "head.", 1) if name.startswith(f"{head}.") else name: name
            for name in network.state_dict()
        }
        self._state = network.state_dict()

    def state_dict(self) -> Mapping[str, Tensor]:
        return {ours: self._state[theirs] for ours, theirs in self._names.items()}

    def namings(self) -> Sequence[Mapping[str, str]]:
        return (self._names,)


def _candidates(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Wide ResNets of the depth and width that the file shows, then what is common."""
    yield from _wide(shapes)
    yield from _OF_CIFAR
    for common, names in _OF_TIMM.items():
        if any(re.search(rf"(^|\.){common}", name) for name in shapes):
            yield from (f"timm:{name}" for name in names)


def _wide(shapes: Mapping[str, Shape]) -> Iterator[str]:
    published = [found for name in shapes if (found := _WIDE.fullmatch(name))]
    if published:
        blocks = 1 + max(int(found[3]) for found in published)
        width = shapes[published[0][0]][0] // 16
        kind = "dm-wrn" if published[0][2].startswith("layer") else "wrn"
        yield f"{kind}-{6 * blocks + 4}-{width}"
    own = [found for name in shapes if (found := _OWN.fullmatch(name))]
    if own:
        yield f"wrn-{2 * len(own) + 4}-{shapes[own[0][0]][0] // 16}"
