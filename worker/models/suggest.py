"""Which architecture the weights of a file fit, by their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.models.build import build
from worker.models.matching import Named, Shape, match
from worker.models.resnet import DEPTHS as RESNETS
from worker.models.timm_models import size_of, timm_network
from worker.models.torchvision_names import torchvision_names
from worker.models.vgg import DEPTHS as VGGS

_RESNETS = tuple(f"resnet-{depth}" for depth in RESNETS)
_VGGS = tuple(f"vgg-{depth}" for depth in VGGS)
_SIZES = ("tiny", "small", "base")
_EFFICIENTNETS = tuple(f"timm:efficientnet_b{size}" for size in range(8))
_VITS = (
    *(f"timm:vit_{size}_patch16_224" for size in (*_SIZES, "large")),
    *(f"timm:vit_{size}_patch32_224" for size in ("small", "base", "large")),
)
_COMMON: Mapping[str, Sequence[str]] = {
    r"layer1\.0\.": (
        "preactresnet-18",
        *_RESNETS,
        *(f"timm:resnet{depth}" for depth in RESNETS),
        *("timm:wide_resnet50_2", "timm:wide_resnet101_2"),
        *("timm:resnext50_32x4d", "timm:resnext101_32x8d"),
    ),
    r"denseblock1\.": tuple(f"timm:densenet{depth}" for depth in (121, 169, 201)),
    r"features\.0\.": (
        *_VGGS,
        *(f"timm:vgg{depth}{norm}" for depth in VGGS for norm in ("", "_bn")),
    ),
    r"features\.1\.0\.block\.": _EFFICIENTNETS,
    r"blocks\.0\.0\.": (
        *_EFFICIENTNETS,
        *("timm:mobilenetv2_100", "timm:mobilenetv3_small_100", "timm:mobilenetv3_large_100"),
    ),
    r"s1\.b1\.": tuple(f"timm:regnety_{size}" for size in ("004", "008", "016", "032")),
    r"stages\.0\.blocks\.": tuple(f"timm:convnext_{size}" for size in _SIZES),
    r"layers\.0\.blocks\.": tuple(f"timm:swin_{size}_patch4_window7_224" for size in _SIZES),
    r"blocks\.0\.attn\.": (*_VITS, "timm:vit_base_patch8_224"),
    r"encoder_layer_0\.": _VITS,
}
"""Those that most weights are of, by what their names have in common."""
_WIDE = re.compile(r"(.*\.)?(block1\.layer|layer\.0\.block)\.(\d+)\.conv_?1\.weight")
_OWN = re.compile(r"(.*\.)?body\.(\d+)\.conv1\.weight")


class Fitting(NamedTuple):
    """An architecture, by its name."""

    name: str
    image_size: int | None
    """That its weights are made for, where they depend on it."""


def fitting(shapes: Mapping[str, Shape], within: str = "") -> Fitting | None:
    """The first architecture whose names and shapes a file has; None where none is known.

    Args:
        shapes: of every tensor in the file, by its name.
        within: how the names of the network begin that is meant, without the last dot.
    """
    start = f"{within}." if within else ""
    meant = {name: shape for name, shape in shapes.items() if name.startswith(start)}
    for architecture in _candidates(meant):
        # A network on the meta device has names and shapes, and takes no memory and no time.
        with suppress(ValueError), torch.device("meta"):
            outline = _outline(architecture)
            match(outline, shapes, within=within, same=lambda name, other: True)
            return Fitting(architecture, getattr(outline, "image_size", None))
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
        self.image_size = size_of(network)

    def state_dict(self) -> Mapping[str, Tensor]:
        return {ours: self._state[theirs] for ours, theirs in self._names.items()}

    def namings(self) -> Sequence[Mapping[str, str]]:
        further = torchvision_names(self._names.values())
        return (
            self._names,
            *({ours: of[name] for ours, name in self._names.items()} for of in further),
        )


def _candidates(shapes: Mapping[str, Shape]) -> Iterator[str]:
    """Wide ResNets of the depth and width that the file shows, then what is common."""
    yield from _wide(shapes)
    for common, names in _COMMON.items():
        if any(re.search(rf"(^|\.){common}", name) for name in shapes):
            yield from names
    if any(re.search(r"(^|\.)body\.", name) for name in shapes):  # the lab's own names
        yield from ("preactresnet-18", *_RESNETS, *_VGGS)


def _wide(shapes: Mapping[str, Shape]) -> Iterator[str]:
    published = [found for name in shapes if shapes[name] and (found := _WIDE.fullmatch(name))]
    if published:
        blocks = 1 + max(int(found[3]) for found in published)
        width = shapes[published[0][0]][0] // 16
        kind = "dm-wrn" if published[0][2].startswith("layer") else "wrn"
        yield f"{kind}-{6 * blocks + 4}-{width}"
    own = [found for name in shapes if shapes[name] and (found := _OWN.fullmatch(name))]
    if own:
        blocks = max(int(found[2]) for found in own)  # the stem is 0
        yield f"wrn-{2 * blocks + 4}-{shapes[own[0][0]][0] // 16}"
