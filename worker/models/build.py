"""Architectures, by name. They normalise inside, take images in [0, 1] and return logits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from worker.models.base import Classifier
from worker.models.dm_wide_resnet import DMWideResNet
from worker.models.plugins import plugin_classifier
from worker.models.preact_resnet import PreActResNet18
from worker.models.resnet import DEPTHS as RESNETS
from worker.models.resnet import ResNet
from worker.models.timm_models import timm_classifier
from worker.models.vgg import DEPTHS as VGGS
from worker.models.vgg import VGG
from worker.models.wide_resnet import WideResNet

_FIXED: Mapping[str, Callable[..., Classifier]] = {
    "preactresnet-18": PreActResNet18,
    **{f"resnet-{depth}": partial(ResNet, depth=depth) for depth in RESNETS},
    **{f"vgg-{depth}": partial(VGG, depth=depth) for depth in VGGS},
}
_WIDE = re.compile(r"(dm-)?wrn-([0-9]{1,4})-([0-9]{1,4})")


def build(
    architecture: str,
    *,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int | None = None,
) -> Classifier:
    """A freshly initialised classifier, drawn from torch's global generator.

    Args:
        architecture: "wrn-<depth>-<width>", such as "wrn-10-2" or "wrn-28-10",
            "dm-wrn-<depth>-<width>", "preactresnet-18", "resnet-<depth>", "vgg-<depth>",
            "timm:<name>" for a network of timm, or "plugin:<name>" for an installed one.
        num_classes: K, at least 2.
        mean, std: of the training images' colour channels, three numbers each, in units of [0, 1].
        image_size: of the images, where the network's weights depend on it.

    Raises:
        ValueError: no such architecture, or arguments it refuses.
    """
    kind, _, name = architecture.partition(":")
    if kind == "timm" and name:
        return timm_classifier(
            name, num_classes=num_classes, mean=mean, std=std, image_size=image_size
        )
    if kind == "plugin" and name:
        return plugin_classifier(name, num_classes=num_classes, mean=mean, std=std)
    if architecture in _FIXED:
        return _FIXED[architecture](num_classes=num_classes, mean=mean, std=std)
    wide = _WIDE.fullmatch(architecture)
    if wide is None:
        raise ValueError(
            f"no architecture {architecture[:80]!r}: use wrn-<depth>-<width>, such as wrn-28-10, "
            f"dm-wrn-<depth>-<width>, {', '.join(_FIXED)}, timm:<name> or plugin:<name>"
        )
    network = DMWideResNet if wide[1] else WideResNet
    return network(
        depth=int(wide[2]), widen_factor=int(wide[3]), num_classes=num_classes, mean=mean, std=std
    )
