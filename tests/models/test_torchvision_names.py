"""Weights under torchvision's names in timm's networks: the logits are torchvision's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from worker.jobs.weights_file import opened
from worker.models import build
from worker.models.matching import match
from worker.models.suggest import fitting
from worker.models.torchvision_names import other_epsilon, torchvision_names

Older = Callable[[str], str]


def small_vit() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768,
        num_classes=6,
    )  # fmt: skip


def handed_out(name: str) -> str:
    """As in the files that torchvision hands out."""
    return name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")


def stirred(network: nn.Module) -> nn.Module:
    """With statistics and heads that are not what they are drawn as, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.1, generator=generator)
    return network.eval()


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None, num_classes=6)


CASES: dict[str, tuple[str, Callable[[], nn.Module], int, Older]] = {
    "ViT": ("timm:vit_tiny_patch16_224", small_vit, 32, str),
    "ViT as it is handed out": ("timm:vit_tiny_patch16_224", small_vit, 32, handed_out),
    "EfficientNet-B0": ("timm:efficientnet_b0", of_torchvision("efficientnet_b0"), 64, str),
}
LARGE = {
    "VGG-11": ("timm:vgg11", of_torchvision("vgg11"), 64, str),
    "EfficientNet-B5": ("timm:efficientnet_b5", of_torchvision("efficientnet_b5"), 64, str),
    "VGG-11 with batch norm": ("timm:vgg11_bn", of_torchvision("vgg11_bn"), 224, str),
}


def taken(
    architecture: str, state: Mapping[str, Tensor], side: int, path: Path
) -> tuple[Any, Mapping[str, Any]]:
    """The network with the file's weights, as an import makes it."""
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    model = build(
        architecture, num_classes=6, mean=(0, 0, 0), std=(1, 1, 1), image_size=side
    ).eval()
    with opened(path, network="", scratch=path.with_suffix(".x"), check=lambda: None) as file:
        found = match(model, file.shapes)
        weights, _ = model.adopted(file.read(found.names, model.state_dict()), found.names)
    model.load_state_dict(model.state_dict() | weights)
    return model, {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_logits_are_those_of_torchvision(case: str, tmp_path: Path) -> None:
    architecture, make, side, older = (CASES | LARGE)[case]
    torch.manual_seed(0)
    theirs = stirred(make())
    state = {f"module.{older(name)}": value for name, value in theirs.state_dict().items()}
    model, _ = taken(architecture, state, side, tmp_path / "net.safetensors")
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


NAMED = {
    "vit_b_16": "timm:vit_base_patch16_224", "vit_l_32": "timm:vit_large_patch32_224",
    "efficientnet_b0": "timm:efficientnet_b0", "efficientnet_b4": "timm:efficientnet_b4",
    "efficientnet_b7": "timm:efficientnet_b7", "vgg13": "timm:vgg13", "vgg19_bn": "timm:vgg19_bn",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_the_architecture_that_fits_is_named(name: str) -> None:
    with torch.device("meta"):
        state = of_torchvision(name)().state_dict()
    found = fitting({name: tuple(value.shape) for name, value in state.items()})
    assert found is not None
    assert found.name == NAMED[name]


SAME_NAMES = ("resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "inception_v3")


def norms(network: nn.Module) -> list[tuple[str, float]]:
    kinds = {nn.BatchNorm2d: "batch", nn.LayerNorm: "layer"}
    return [(kinds[kind], module.eps) for module in network.modules() for kind in kinds
            if isinstance(module, kind)]  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [*((name, f"timm:{name}") for name in SAME_NAMES), *NAMED.items(),
     *((f"efficientnet_b{n}", f"timm:efficientnet_b{n}") for n in (5, 6))],
)  # fmt: skip
def test_norms_are_those_of_torchvision(theirs: str, ours: str) -> None:
    """The same names and shapes are another network where a constructor gives norms another ε."""
    given = {"aux_logits": False, "init_weights": False} if theirs == "inception_v3" else {}
    with torch.device("meta"):
        there = torchvision.models.get_model(theirs, weights=None, num_classes=6, **given)
        here = timm.create_model(ours.removeprefix("timm:"), num_classes=6)
    named = {name: theirs for naming in torchvision_names(here.state_dict())[:1]
             for name, theirs in naming.items()}  # fmt: skip
    known = named or {name: name for name in here.state_dict()}
    assert set(known.values()) == set(there.state_dict())
    other = other_epsilon(known)
    found = [(kind, other or epsilon) for kind, epsilon in norms(here)]
    assert sorted(found) == sorted(norms(there))
    assert other_epsilon({name: name for name in known}) is None, "timm's own keep their own"
