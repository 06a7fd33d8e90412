"""Convolutional networks of `timm` (Wightman, github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from worker.models.base import Classifier

_NAME = re.compile(r"[a-z0-9_]{1,60}")
_PROBE_SIDE = 64
_SAME = 1e-4
"""Of the largest logit; one network computed in two orders differs by rounding."""


class TimmClassifier(Classifier):
    """A network of timm whose head is a linear layer on the average of a feature map.

    Never downloads anything: weights are drawn as timm draws them.

    Args:
        name: such as "resnet18"; no tag, no address.

    Raises:
        ValueError: timm is not installed, has no such model, or the model has another shape.
    """

    def __init__(
        self, name: str, *, num_classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        network = timm_network(name, num_classes)
        path, head = _head(name, network)
        _check_shape(name, network, head)
        # The base class draws what it holds by He's rule; timm has drawn these already.
        super().__init__(
            body=nn.Identity(),
            feature_dim=head.in_features,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )
        parent, _, last = path.rpartition(".")
        setattr(network.get_submodule(parent), last, nn.Identity())
        self.body, self.head = _Features(network), head
        self.name, self._path = name, path

    def published_names(self) -> dict[str, str]:
        """Those of timm's own network."""
        start = "body.network."
        body = {name: name.removeprefix(start) for name in self.state_dict() if start in name}
        return body | {f"head.{part}": f"{self._path}.{part}" for part in ("weight", "bias")}

    def native(self) -> nn.Module:
        """timm's own network with these weights, in eval mode; it takes normalised images."""
        network = timm_network(self.name, self.num_classes)
        state = self.state_dict()
        named = {theirs: state[ours] for ours, theirs in self.published_names().items()}
        network.load_state_dict(named)
        return network.eval()


class _Features(nn.Module):
    """Normalised images (N, 3, H, W) -> the feature map before pooling, (N, C, h, w)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(x)  # type: ignore[operator]
        return features


def timm_network(name: str, num_classes: int) -> nn.Module:
    """timm's own network, freshly drawn. Raises ValueError where there is none of that name."""
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"no architecture of timm: it is not installed here ({error})") from error
    if not _NAME.fullmatch(name) or not timm.is_model(name):
        raise ValueError(unknown("timm", name, timm.list_models()))
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    except Exception as error:  # whatever one of a thousand constructors raises
        raise ValueError(f"timm:{name} cannot be built: {error}"[:500]) from error
    return network


def unknown(kind: str, name: str, there_are: Sequence[str]) -> str:
    """That there is no such architecture, and which are near it."""
    near = get_close_matches(name[:80], there_are, n=3, cutoff=0.4)
    instead = ", ".join(f"{kind}:{other}" for other in near or there_are[:3])
    return f"no architecture {f'{kind}:{name}'[:80]!r}; " + (
        f"there is {instead}" if instead else "there is none of this kind"
    )


def _head(name: str, network: nn.Module) -> tuple[str, nn.Linear]:
    """The last layer and its name in the network."""
    facts: Any = getattr(network, "pretrained_cfg", None) or {}
    path = facts.get("classifier")
    module = network.get_submodule(path) if isinstance(path, str) and path else None
    if not isinstance(module, nn.Linear) or module.bias is None:
        raise ValueError(f"timm:{name} does not fit: its head is no linear layer with a bias")
    return path, module


@torch.no_grad()
def _check_shape(name: str, network: nn.Module, head: nn.Linear) -> None:
    """That the logits are the head's, of the average of a map. Raises ValueError."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, _PROBE_SIDE, _PROBE_SIDE, generator=generator)
    kept = [parameter.clone() for parameter in head.parameters()]
    network.eval()
    try:
        # Some heads are drawn as zeros, from which nothing could be told.
        head.weight.normal_(generator=generator)
        features = network.forward_features(x)  # type: ignore[operator]
        logits = network(x)
    except Exception as error:  # networks of a fixed image size raise in their own ways
        raise ValueError(
            f"timm:{name} does not fit: it takes no images of {_PROBE_SIDE} pixels"
        ) from error
    if not isinstance(features, Tensor) or features.dim() != 4:
        raise ValueError(f"timm:{name} does not fit: its features are no map (N, C, H, W)")
    if features.shape[1] == head.in_features:
        expected = head(features.mean(dim=(2, 3)))
        fits = torch.allclose(logits, expected, rtol=0, atol=_SAME * logits.abs().max().item())
    else:
        fits = False
    for parameter, value in zip(head.parameters(), kept, strict=True):
        parameter.copy_(value)
    network.train()
    if not fits:
        raise ValueError(
            f"timm:{name} does not fit: between its features and its linear head lies more than "
            "their average"
        )
