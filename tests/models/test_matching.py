"""Names of weights: published networks written out with their own names, and what does not match.

The two networks below are written from their papers with the names that public code gives them;
their logits are the oracle for what becomes of their weights here.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.models import Classifier, build
from worker.models.matching import Mismatch, match


class PublishedBlock(nn.Module):
    """BN-ReLU-conv twice, shortcut from the activated input where the shape changes."""

    def __init__(self, before: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.name = shortcut
        if stride != 1 or before != width:
            one = nn.Conv2d(before, width, 1, stride, bias=False)
            setattr(self, shortcut, one if shortcut == "convShortcut" else nn.Sequential(one))

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        shortcut = getattr(self, self.name)(a) if hasattr(self, self.name) else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(a))))


class Stage(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class PublishedWideResNet(nn.Module):
    """WRN-16-2 with the names of WideResNet-pytorch."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        widths = [16, 32, 64, 128]
        for stage in (1, 2, 3):
            before, width = widths[stage - 1], widths[stage]
            first = PublishedBlock(before, width, 1 if stage == 1 else 2, "convShortcut")
            second = PublishedBlock(width, width, 1, "convShortcut")
            setattr(self, f"block{stage}", Stage(first, second))
        self.bn1, self.fc = nn.BatchNorm2d(128), nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.avg_pool2d(F.relu(self.bn1(x)), 8).flatten(1))


class PublishedPreActResNet18(nn.Module):
    """With the names of pytorch-cifar, and a last batch norm."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        widths = [64, 64, 128, 256, 512]
        for stage in (1, 2, 3, 4):
            before, width = widths[stage - 1], widths[stage]
            first = PublishedBlock(before, width, 1 if stage == 1 else 2, "shortcut")
            setattr(
                self, f"layer{stage}",
                nn.Sequential(first, PublishedBlock(width, width, 1, "shortcut")),
            )  # fmt: skip
        self.bn, self.linear = nn.BatchNorm2d(512), nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(F.avg_pool2d(F.relu(self.bn(x)), 4).flatten(1))


def ours(architecture: str, num_classes: int = 6) -> Classifier:
    return build(architecture, num_classes=num_classes, mean=(0, 0, 0), std=(1, 1, 1)).eval()


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    ("architecture", "published"),
    [("wrn-16-2", PublishedWideResNet), ("preactresnet-18", PublishedPreActResNet18)],
)
def test_published_weights_give_the_published_logits(
    architecture: str, published: type[nn.Module]
) -> None:
    torch.manual_seed(0)
    theirs, model = published(6), ours(architecture)
    theirs.train()(torch.rand(8, 3, 32, 32))
    state = theirs.eval().state_dict()
    names = match(model, shapes(state)).names
    assert sorted(names.values()) == sorted(state)
    model.load_state_dict(model.state_dict() | {a: state[b] for a, b in names.items()})
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "_orig_mod.", "module.model."])
@pytest.mark.parametrize("published", [False, True])
def test_prefixes_are_recognised(prefix: str, published: bool) -> None:
    model = ours("wrn-10-1")
    names = model.published_names() if published else {name: name for name in model.state_dict()}
    found = match(model, {prefix + name: tuple(model.state_dict()[o].shape)
                          for o, name in names.items()})  # fmt: skip
    weights = {own: prefix + name for own, name in names.items() if own not in ("mean", "std")}
    assert (found.names, found.prefix, found.outputs) == (weights, prefix, 6)


def test_a_weight_of_the_networks_own_that_begins_like_a_prefix_keeps_it() -> None:
    body = nn.Sequential()
    body.add_module("net", nn.Conv2d(3, 4, 1))
    model = Classifier(body=body, feature_dim=4, num_classes=2, mean=(0, 0, 0), std=(1, 1, 1))
    names = {f"module.{name}": shape for name, shape in shapes(model.state_dict()).items()}
    assert match(model, names).names["body.net.weight"] == "module.body.net.weight"


def test_counters_and_normalisation_may_be_missing() -> None:
    model = ours("wrn-10-1")
    held = {
        name: shape
        for name, shape in shapes(model.state_dict()).items()
        if name not in ("mean", "std") and "num_batches" not in name
    }
    assert set(match(model, held).names) == set(held)


def test_a_first_stage_that_no_forward_pass_uses_is_left_out() -> None:
    model = ours("wrn-10-1")
    held = shapes(model.state_dict())
    extra = {"module.sub_block1.layer.0.bn1.weight": (16,)}
    found = match(model, held | extra)
    assert found.names == {name: name for name in held if name not in ("mean", "std")}
    assert found.left_out == tuple(extra)
    with pytest.raises(Mismatch, match="sub_block1"):
        match(ours("preactresnet-18"), shapes(ours("preactresnet-18").state_dict()) | extra)


def test_what_does_not_match_is_listed_by_name() -> None:
    model = ours("wrn-10-1")
    names = model.published_names()
    held = {name: tuple(model.state_dict()[own].shape) for own, name in names.items()}
    del held["bn1.weight"]
    held |= {"fc.weight": (6, 128), "extra.<b>\n": (1,)}
    with pytest.raises(Mismatch) as raised:
        match(model, held)
    assert raised.value.missing == ["bn1.weight"]
    assert raised.value.unexpected == ["extra.<b>\n"]
    assert raised.value.shapes == ["fc.weight is 6 × 128, not 6 × 64"]
    assert str(raised.value) == (
        "1 missing: bn1.weight; 1 unexpected: extra.<b>\N{REPLACEMENT CHARACTER}; "
        "1 of another shape: fc.weight is 6 × 128, not 6 × 64"
    )


def test_of_many_names_twenty_are_shown_and_all_are_counted() -> None:
    model = ours("wrn-10-1")
    held = shapes(model.state_dict()) | {f"{i}-{'x' * 500}": (1,) for i in range(5000)}
    with pytest.raises(Mismatch, match="5,000 unexpected: ") as raised:
        match(model, held)
    assert len(str(raised.value)) < 2000
    assert str(raised.value).count("xxx…") == 3
    (line,) = raised.value.lists()
    assert line.startswith("5,000 unexpected: 0-xxx")
    assert line.endswith("…, …")
    assert line.count("xxx…") == 20
    assert len(line) < 2000


def test_a_weight_that_is_there_twice_is_refused() -> None:
    model = ours("wrn-10-1")
    held = shapes(model.state_dict())
    with pytest.raises(Mismatch, match=r"1 unexpected: module\.head\.bias"):
        match(model, held | {"module.head.bias": (6,)})
