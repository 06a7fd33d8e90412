"""Networks of `timm` (Wightman, github.com/huggingface/pytorch-image-models) as classifiers.

Where such a network looks is read from it in one of three ways, which a trial forward pass decides:
from the feature map before its average and its head; from the attention of its class token; or not
at all, where all it shows are pooled features, a map of one position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from worker.models.attending import ClassTokenBody, attends
from worker.models.base import Classifier, Outputs
from worker.models.torchvision_names import other_epsilon, torchvision_names

_NAME = re.compile(r"[a-z0-9_]{1,60}(\.[a-z0-9_]{1,60})?")
_PROBE_SIDE = 64
_SAME = 1e-4
"""Of the largest logit; one network computed in two orders differs by rounding."""
_LOWEST = -0.4
"""Below this no activation function of a feature map goes, but one that keeps all signs."""


class Native(NamedTuple):
    """timm's own network, and what there is to know of it."""

    name: str
    image_size: int | None
    path: str
    """The name of its last layer."""
    head: nn.Linear
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None
    """Mean and standard deviation that its published weights expect; None where nobody says."""


class TimmClassifier(Classifier):
    """A network of timm with a linear head on pooled features. `timm_classifier` builds it."""

    def __init__(
        self,
        native: Native,
        body: nn.Module,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        # The base class draws what it holds by He's rule; timm has drawn these already.
        super().__init__(
            body=nn.Identity(),
            feature_dim=native.head.in_features,
            num_classes=num_classes,
            mean=mean,
            std=std,
        )
        self.published_normalisation, self._native = native.normalisation, native
        self.body, self.head = body, native.head

    def published_names(self) -> dict[str, str]:
        """Those of timm's own network."""
        start = "body.network."
        body = {name: name.removeprefix(start) for name in self.state_dict() if start in name}
        path = self._native.path
        return body | {f"head.{part}": f"{path}.{part}" for part in ("weight", "bias")}

    def further_names(self) -> tuple[dict[str, str], ...]:
        """Those of torchvision, where it has the same network under other names."""
        own = self.published_names()
        return tuple(
            {ours: theirs[name] for ours, name in own.items()}
            for theirs in torchvision_names(own.values())
        )

    def adopted(
        self, weights: Mapping[str, Tensor], names: Mapping[str, str]
    ) -> tuple[dict[str, Tensor], str]:
        """Another ε of batch norm becomes part of the variances: in eval mode it is the same."""
        own = self.published_names()
        there = other_epsilon({own.get(ours, ours): theirs for ours, theirs in names.items()})
        if there is None:
            return super().adopted(weights, names)
        more = {
            f"{name}.running_var": there - module.eps
            for name, module in self.named_modules()
            if isinstance(module, nn.BatchNorm2d)
        }
        said = (
            f"torchvision's batch norms add {there:g} to each variance where timm's add less: the "
            "difference is part of the variances now."
        )
        return {name: value + more.get(name, 0.0) for name, value in weights.items()}, said

    def native(self) -> nn.Module:
        """timm's own network with these weights, in eval mode; it takes normalised images."""
        network = timm_network(self._native.name, self.num_classes, self._native.image_size)
        state = self.state_dict()
        named = {theirs: state[ours] for ours, theirs in self.published_names().items()}
        network.load_state_dict(named)
        return network.eval()


class _MapClassifier(TimmClassifier):
    """Between the feature map and the linear head lies more than an average: timm's own head."""

    def read_out(self, features: Tensor) -> Outputs:
        with torch.autocast(features.device.type, enabled=False):
            mapped = features.to(self.head.weight.dtype)
            embedding = self.body.network.forward_head(mapped)  # type: ignore[operator, union-attr]
            return Outputs(features, embedding, self.head(embedding))


class _ClassTokenClassifier(TimmClassifier):
    """F(x) is the attention that the class token pays each patch in the last block, head by head.

    So A(F) is the sum over the heads. `beside` are the tokens that enter the last block.
    """

    attends = True

    def outputs(self, x: Tensor) -> Outputs:
        return self._of(*self.body(self.normalised(x)))

    def read_again(self, features: Tensor, beside: Tensor | None) -> Outputs:
        """The last block again, with the class token's attention as it is given."""
        assert beside is not None
        assert isinstance(self.body, ClassTokenBody)
        return self._of(*self.body.last_block(beside, features))

    def _of(self, features: Tensor, tokens: Tensor, embedding: Tensor) -> Outputs:
        with torch.autocast(features.device.type, enabled=False):
            embedding = embedding.to(self.head.weight.dtype)
            return Outputs(features, embedding, self.head(embedding), tokens)


class _Features(nn.Module):
    """Normalised images (N, 3, H, W) -> the feature map before pooling, (N, C, h, w)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network.forward_features(x)  # type: ignore[operator]
        return features


class _Pooled(nn.Module):
    """Normalised images (N, 3, H, W) -> the pooled features as a map of one position."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.network(x)  # (N, C), since its head is gone
        return pooled[:, :, None, None]


def timm_classifier(
    name: str,
    *,
    num_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int | None = None,
) -> TimmClassifier:
    """A network of timm whose last layer is linear, freshly drawn as timm draws it.

    Never downloads anything.

    Args:
        name: such as "resnet18" or, with the tag of published weights, "resnet18.a1_in1k".
        image_size: that it is to take, where its weights depend on that; else its own.

    Raises:
        ValueError: timm is not installed, has no such model, or the model does not fit.
    """
    network = timm_network(name, num_classes, image_size)
    path, head = _head(name, network)
    facts: Any = network.pretrained_cfg
    published = (facts["mean"], facts["std"]) if "mean" in facts and "std" in facts else None
    native = Native(name, image_size, path, head, published)
    kept = head.weight.detach().clone()
    trial = _trial(native, network)
    parent, _, last = path.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    for kind, body in _ways(network, trial):
        model = kind(native, body(network), num_classes=num_classes, mean=mean, std=std)
        if trial.agrees(model):
            with torch.no_grad():
                head.weight.copy_(kept)
            return model.train()
    raise ValueError(f"timm:{name} does not fit: its logits are not those of its linear head")


def _ways(
    network: nn.Module, trial: _Trial
) -> Iterator[tuple[type[TimmClassifier], Callable[[nn.Module], nn.Module]]]:
    """What may show where the network looks, the best first."""
    if trial.features.dim() == 4:
        yield TimmClassifier, _Features
        _, channels, height, width = trial.features.shape
        is_map = channels == getattr(network, "num_features", 0) and height == width
        if is_map and trial.features.min() >= _LOWEST:
            yield _MapClassifier, _Features
    if attends(network):
        yield _ClassTokenClassifier, ClassTokenBody
    yield TimmClassifier, _Pooled


class _Trial(NamedTuple):
    """A forward pass of timm's own network."""

    x: Tensor
    """Normalised images, (2, 3, H, W)."""
    features: Tensor
    logits: Tensor

    @torch.no_grad()
    def agrees(self, model: TimmClassifier) -> bool:
        """Whether the model computes the same."""
        mean, std = model.mean.view(1, 3, 1, 1), model.std.view(1, 3, 1, 1)
        try:
            logits = model.eval()(self.x * std + mean)
        except (RuntimeError, ValueError, TypeError):
            return False
        most = _SAME * self.logits.abs().max().item()
        return logits.shape == self.logits.shape and torch.allclose(
            logits, self.logits, rtol=0, atol=most
        )


@torch.no_grad()
def _trial(native: Native, network: nn.Module) -> _Trial:
    """Draws the head anew. Raises ValueError where the network takes no such images."""
    generator = torch.Generator().manual_seed(0)
    network.eval()
    # Some heads are drawn as zeros, from which nothing could be told.
    native.head.weight.normal_(generator=generator)
    facts: Any = getattr(network, "pretrained_cfg", None) or {}
    own = facts.get("input_size", (3, _PROBE_SIDE))[-1]
    sides = (_PROBE_SIDE, own) if native.image_size is None else (native.image_size,)
    for side in sides:
        x = torch.randn(2, 3, side, side, generator=generator)
        try:
            features = network.forward_features(x)  # type: ignore[operator]
            return _Trial(x, features, network(x))
        except Exception:  # networks of a fixed image size raise in their own ways
            continue
    raise ValueError(f"timm:{native.name} does not fit: it takes no images of {sides[0]} pixels")


def timm_network(name: str, num_classes: int, image_size: int | None = None) -> nn.Module:
    """timm's own network, freshly drawn. Raises ValueError where there is none of that name."""
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"no architecture of timm: it is not installed here ({error})") from error
    if not _NAME.fullmatch(name) or not timm.is_model(name):
        raise ValueError(unknown("timm", name, timm.list_models()))
    given: dict[str, Any] = {"pretrained": False, "num_classes": num_classes}
    try:
        network: nn.Module = timm.create_model(name, **given)
        if image_size is not None and size_of(network) not in (None, image_size):
            network = timm.create_model(name, img_size=image_size, **given)
    except Exception as error:  # whatever one of a thousand constructors raises
        raise ValueError(f"timm:{name} cannot be built: {error}"[:500]) from error
    return network


def size_of(network: nn.Module) -> int | None:
    """Of the images that its position embedding is made for; None where it has none."""
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    return None if size is None else int(size[0])


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
