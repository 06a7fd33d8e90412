"""The architectures: sizes against the papers, outputs against a forward pass written out."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worker.models import Classifier, build

MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]


def classifier(architecture: str, num_classes: int = 10) -> Classifier:
    torch.manual_seed(0)
    return build(architecture, num_classes=num_classes, mean=MEAN, std=STD).eval()


def count(model: Classifier) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def size_by_formula(stem: int, widths: list[int], blocks: int, num_classes: int) -> int:
    size, channels = 3 * stem * 9, stem
    for width in widths:
        for _ in range(blocks):
            size += 2 * channels + 9 * channels * width  # bn1, conv1
            size += 2 * width + 9 * width * width  # bn2, conv2
            size += channels * width if channels != width else 0  # shortcut
            channels = width
    return size + 2 * channels + channels * num_classes + num_classes  # last bn, head


@pytest.mark.parametrize(
    ("architecture", "num_classes", "size"),
    [
        ("wrn-28-10", 10, 36_479_194),  # of the authors' code
        # The last batch norm's 2 * 512 on top of the 11,171,146 of the version without it.
        ("preactresnet-18", 10, 11_171_146 + 2 * 512),
        ("preactresnet-18", 100, size_by_formula(64, [64, 128, 256, 512], 2, 100)),
        ("wrn-10-2", 10, size_by_formula(16, [32, 64, 128], 1, 10)),
        ("wrn-16-1", 7, size_by_formula(16, [16, 32, 64], 2, 7)),
    ],
)
def test_number_of_parameters(architecture: str, num_classes: int, size: int) -> None:
    assert count(classifier(architecture, num_classes)) == size


@pytest.mark.parametrize(
    ("architecture", "millions"), [("wrn-40-4", 8.9), ("wrn-16-8", 11.0), ("wrn-28-10", 36.5)]
)
def test_sizes_of_the_paper(architecture: str, millions: float) -> None:
    """Table 4 of Zagoruyko & Komodakis."""
    assert round(count(classifier(architecture)) / 1e6, 1) == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize(
    ("architecture", "channels", "reduction"),
    [("wrn-10-2", 128, 4), ("wrn-16-1", 64, 4), ("preactresnet-18", 512, 8)],
)
@pytest.mark.parametrize("size", [32, 64])
def test_outputs(architecture: str, channels: int, reduction: int, size: int) -> None:
    model = classifier(architecture, num_classes=7)
    x = torch.rand(3, 3, size, size)
    features, embedding, logits, beside = model.outputs(x)
    assert beside is None
    side = size // reduction
    assert features.shape == (3, channels, side, side)
    assert model.feature_dim == channels
    assert features.min() == 0  # after the ReLU
    torch.testing.assert_close(embedding, features.flatten(2).mean(dim=2))
    torch.testing.assert_close(logits, embedding @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(model(x), logits, rtol=0, atol=0)
    torch.testing.assert_close(model.read_out(features).logits, logits, rtol=0, atol=0)


def written_out(model: Classifier, x: Tensor, stages: int, blocks: int) -> Tensor:
    """Features of a pre-activation network, step by step from its state, in eval mode."""
    state = model.state_dict()

    def activate(x: Tensor, name: str) -> Tensor:
        shape = (1, -1, 1, 1)
        mean, variance = (state[f"{name}.running_{part}"].view(shape) for part in ("mean", "var"))
        scale, shift = (state[f"{name}.{part}"].view(shape) for part in ("weight", "bias"))
        return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)

    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    x = (x - mean[:, None, None]) / std[:, None, None]
    x = F.conv2d(x, state["body.0.weight"], padding=1)
    for index in range(stages * blocks):
        block, stride = f"body.{index + 1}", 2 if index >= blocks and index % blocks == 0 else 1
        activated = activate(x, f"{block}.bn1")
        changed = F.conv2d(activated, state[f"{block}.conv1.weight"], stride=stride, padding=1)
        changed = activate(changed, f"{block}.bn2")
        changed = F.conv2d(changed, state[f"{block}.conv2.weight"], padding=1)
        shortcut = state.get(f"{block}.shortcut.weight")
        x = changed + (x if shortcut is None else F.conv2d(activated, shortcut, stride=stride))
    return activate(x, f"body.{stages * blocks + 1}")


@pytest.mark.parametrize(
    ("architecture", "stages", "blocks"),
    [("wrn-16-1", 3, 2), ("wrn-10-2", 3, 1), ("preactresnet-18", 4, 2)],
)
def test_features_equal_the_network_written_out(
    architecture: str, stages: int, blocks: int
) -> None:
    model = classifier(architecture)
    model.train()(torch.rand(8, 3, 32, 32))  # running statistics that are not 0 and 1
    model.eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features = model.outputs(x).features
        torch.testing.assert_close(
            features, written_out(model, x, stages, blocks), rtol=1e-4, atol=1e-4
        )


def test_normalises_inside() -> None:
    model = classifier("wrn-10-2")
    torch.manual_seed(0)
    bare = build("wrn-10-2", num_classes=10, mean=[0, 0, 0], std=[1, 1, 1]).eval()
    x = torch.rand(2, 3, 32, 32)
    normalised = torch.stack([(x[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    torch.testing.assert_close(model(x), bare(normalised))
    assert not torch.allclose(model(x), bare(x))


def test_the_normalisation_travels_with_the_weights() -> None:
    torch.manual_seed(1)
    other = build("wrn-10-2", num_classes=10, mean=[0, 0, 0], std=[1, 1, 1]).eval()
    model = classifier("wrn-10-2")
    other.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


def test_channels_last_changes_no_result() -> None:
    model = classifier("wrn-10-2")
    x = torch.rand(2, 3, 32, 32)
    expected = model(x)
    model.to(memory_format=torch.channels_last)
    features, _, logits, _ = model.outputs(x.contiguous(memory_format=torch.channels_last))
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_he_initialisation() -> None:
    model = classifier("preactresnet-18")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 20
    for convolution in convolutions[1:]:
        fan_out = convolution.out_channels * convolution.kernel_size[0] ** 2
        assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert not model.head.bias.any()


def test_the_global_generator_decides_the_weights() -> None:
    first, second = classifier("wrn-10-2"), classifier("wrn-10-2")
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    other = build("wrn-10-2", num_classes=10, mean=MEAN, std=STD)
    assert not torch.equal(other.head.weight, first.head.weight)


@pytest.mark.parametrize(
    "architecture",
    [
        "",
        "wrn",
        "wrn-28",
        "wrn-28-10-1",
        "WRN-28-10",
        "wrn--10",
        "resnet-20",
        "vgg-12",
        "preactresnet-34",
        "wrn-28-10\n",
        "wrn-99999-2",
    ],
)
def test_unknown_architecture(architecture: str) -> None:
    with pytest.raises(ValueError, match=r"no architecture .* use wrn-<depth>-<width>"):
        build(architecture, num_classes=10, mean=MEAN, std=STD)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("wrn-4-2", "depth"), ("wrn-29-2", "depth"), ("wrn-0-1", "depth"), ("wrn-28-0", "width")],
)
def test_no_such_wide_resnet(architecture: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(architecture, num_classes=10, mean=MEAN, std=STD)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "2 classes"),
        ({"mean": [0.5, 0.5]}, "mean must be three"),
        ({"mean": [0.5, 0.5, math.nan]}, "mean must be three"),
        ({"std": [0.5, 0.5, 0.0]}, "std must be positive"),
        ({"std": [0.5, 0.5, math.inf]}, "std must be three"),
    ],
)
def test_refused_arguments(arguments: dict[str, object], message: str) -> None:
    valid = {"num_classes": 10, "mean": MEAN, "std": STD}
    with pytest.raises(ValueError, match=message):
        build("wrn-10-2", **(valid | arguments))
