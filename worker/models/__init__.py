"""Architectures, by name. They normalise inside, take images in [0, 1] and return logits."""

from __future__ import annotations

import re
from collections.abc import Sequence

from worker.models.base import Classifier, Outputs
from worker.models.frozen import Frozen, Passes, frozen, frozen_passes
from worker.models.plugins import plugin_classifier
from worker.models.preact_resnet import PreActResNet18
from worker.models.stages import Staged, staged
from worker.models.timm_models import TimmClassifier
from worker.models.wide_resnet import WideResNet

__all__ = [
    "Classifier",
    "Frozen",
    "Outputs",
    "Passes",
    "Staged",
    "TimmClassifier",
    "build",
    "frozen",
    "frozen_passes",
    "staged",
]


def build(
    architecture: str, *, num_classes: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """A freshly initialised classifier, drawn from torch's global generator.

    Args:
        architecture: "wrn-<depth>-<width>", such as "wrn-10-2" or "wrn-28-10",
            "preactresnet-18", "timm:<name>" for a network of timm, or "plugin:<name>" for an
            installed one.
        num_classes: K, at least 2.
        mean, std: of the training images' colour channels, three numbers each, in units of [0, 1].

    Raises:
        ValueError: no such architecture, or arguments it refuses.
    """
    kind, _, name = architecture.partition(":")
    if kind == "timm" and name:
        return TimmClassifier(name, num_classes=num_classes, mean=mean, std=std)
    if kind == "plugin" and name:
        return plugin_classifier(name, num_classes=num_classes, mean=mean, std=std)
    if architecture == "preactresnet-18":
        return PreActResNet18(num_classes=num_classes, mean=mean, std=std)
    wide = re.fullmatch(r"wrn-([0-9]{1,4})-([0-9]{1,4})", architecture)
    if wide is None:
        raise ValueError(
            f"no architecture {architecture[:80]!r}: use wrn-<depth>-<width>, such as wrn-28-10, "
            "preactresnet-18, timm:<name> or plugin:<name>"
        )
    return WideResNet(
        depth=int(wide[1]), widen_factor=int(wide[2]), num_classes=num_classes, mean=mean, std=std
    )
