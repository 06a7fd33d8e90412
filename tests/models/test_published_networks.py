"""Networks that papers publish, by their names: the logits of each are those of code of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.models.published import Basic, Bottleneck, CifarResNet, CifarVGG, DMWideResNet
from worker.models import build
from worker.models.matching import match
from worker.models.suggest import fitting

_VGG11 = [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]
_VGG13 = [64, 64, 0, 128, 128, 0, 256, 256, 0, *[512, 512, 0] * 2]
_VGG16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, *[512, 512, 512, 0] * 2]
_VGG19 = [64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[*[512] * 4, 0] * 2]
PUBLISHED: dict[str, Callable[[], nn.Module]] = {
    "resnet-18": lambda: CifarResNet(Basic, [2, 2, 2, 2], 6),
    "resnet-34": lambda: CifarResNet(Basic, [3, 4, 6, 3], 6),
    "resnet-50": lambda: CifarResNet(Bottleneck, [3, 4, 6, 3], 6),
    "resnet-101": lambda: CifarResNet(Bottleneck, [3, 4, 23, 3], 6),
    "resnet-152": lambda: CifarResNet(Bottleneck, [3, 8, 36, 3], 6),
    "vgg-11": lambda: CifarVGG(_VGG11, 6),
    "vgg-13": lambda: CifarVGG(_VGG13, 6),
    "vgg-16": lambda: CifarVGG(_VGG16, 6),
    "vgg-19": lambda: CifarVGG(_VGG19, 6),
    "dm-wrn-16-2": lambda: DMWideResNet(6),
}


def stirred(make: Callable[[], nn.Module]) -> nn.Module:
    """With running statistics that are not 0 and 1, in eval mode."""
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_published_weights_give_the_published_logits(architecture: str) -> None:
    theirs = stirred(PUBLISHED[architecture])
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    model = build(architecture, num_classes=6, mean=(0, 0, 0), std=(1, 1, 1)).eval()
    found = match(model, shapes)
    model.load_state_dict(model.state_dict() | {a: state[b] for a, b in found.names.items()})
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        outputs = model.outputs(x)
        torch.testing.assert_close(outputs.logits, theirs(x), rtol=1e-4, atol=1e-4)
        read = model.read_out(outputs.features).logits
        torch.testing.assert_close(read, outputs.logits, rtol=0, atol=0)
    side = {"resnet": 4, "vgg": 2, "dm": 8}[architecture.partition("-")[0]]
    assert outputs.features.shape[2:] == (side, side)
    fits = fitting(shapes)
    assert fits is not None
    assert (fits.name, fits.image_size) == (architecture, None)


def test_another_code_names_the_same_network_in_another_way() -> None:
    """As code that goes back to torchvision's, with a stem for small images."""
    model = build("resnet-18", num_classes=6, mean=(0, 0, 0), std=(1, 1, 1))
    shapes = {}
    for name, value in stirred(PUBLISHED["resnet-18"]).state_dict().items():
        other = name.replace("shortcut", "downsample").replace("linear", "fc")
        shapes[other] = tuple(value.shape)
    names = match(model, shapes).names
    assert names["head.weight"] == "fc.weight"
    assert names["body.layer2.0.shortcut.0.weight"] == "layer2.0.downsample.0.weight"


@pytest.mark.parametrize(
    "name", ["resnet34", "wide_resnet50_2", "vit_tiny_patch16_224", "vgg11_bn", "mobilenetv2_100"]
)
def test_of_timms_networks_the_one_that_fits_is_found(name: str) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model(name, num_classes=17).state_dict()
    shapes = {f"backbone.{key}": tuple(value.shape) for key, value in state.items()}
    size = 224 if name.startswith("vit") else None
    assert fitting(shapes) == fitting(shapes, within="backbone") == (f"timm:{name}", size)


def test_of_what_nobody_knows_nothing_is_said() -> None:
    assert fitting({"layer1.0.weight": (3, 3), "blocks.0.0.x": (1,)}) is None
    assert fitting({}) is None


@pytest.mark.parametrize("name", ["block1.layer.0.conv1.weight", "body.1.conv1.weight"])
def test_a_weight_without_a_shape_tells_no_width(name: str) -> None:
    assert fitting({name: ()}) is None


def test_a_copy_of_a_network_makes_it_no_deeper() -> None:
    state = build("wrn-16-2", num_classes=4, mean=(0, 0, 0), std=(1, 1, 1)).state_dict()
    shapes = {
        f"{part}{name}": tuple(value.shape)
        for part in ("", "ema.")
        for name, value in state.items()
    }  # fmt: skip
    assert fitting(shapes) == ("wrn-16-2", None)


def test_a_wider_network_beside_it_makes_it_no_wider() -> None:
    shapes = {
        f"{part}{name}": tuple(value.shape)
        for part, width in (("student.", 2), ("teacher.", 4))
        for name, value in build(
            f"wrn-10-{width}", num_classes=4, mean=(0, 0, 0), std=(1, 1, 1)
        ).state_dict().items()
    }  # fmt: skip
    for part, width in (("teacher", 4), ("student", 2)):
        assert fitting(shapes, within=part) == (f"wrn-10-{width}", None)
