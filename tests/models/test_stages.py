"""Feature maps of each resolution, from one pass."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.nn import functional as F

from worker.models import build, staged


def test_a_pre_activation_networks_stages_end_behind_the_next_norm() -> None:
    torch.manual_seed(0)
    model = build("wrn-16-1", num_classes=3, mean=[0.5] * 3, std=[0.25] * 3).eval()
    x = torch.rand(2, 3, 32, 32)
    outputs, stages = staged(model, x)
    blocks = list(model.body)  # stem, two blocks a stage, norm, ReLU
    stage1 = blocks[:3]
    h = (x - 0.5) / 0.25
    for layer in stage1:
        h = layer(h)
    torch.testing.assert_close(stages[0], F.relu(blocks[3].bn1(h)))
    for layer in blocks[3:5]:
        h = layer(h)
    torch.testing.assert_close(stages[1], F.relu(blocks[5].bn1(h)))
    assert torch.equal(stages[2], outputs.features)
    torch.testing.assert_close(outputs.logits, model(x))
    assert not any(module._forward_hooks for module in model.modules())


def test_stages_are_of_the_own_pass() -> None:
    """Another thread's way through the model, in the midst of this one, leaves nothing in it."""
    torch.manual_seed(0)
    model = build("wrn-10-1", num_classes=3, mean=[0.5] * 3, std=[0.25] * 3).eval()
    x = torch.rand(1, 3, 32, 32)
    expected = staged(model, x).stages

    def meanwhile(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=model.outputs, args=(torch.rand(2, 3, 32, 32),))
            thread.start()
            thread.join()

    hook = model.body[-1].register_forward_hook(meanwhile)
    found = staged(model, x).stages
    hook.remove()
    for stage, other in zip(found, expected, strict=True):
        assert torch.equal(stage, other)


@pytest.mark.parametrize(
    ("architecture", "side", "sizes"),
    [("preactresnet-18", 32, [32, 16, 8, 4]), ("timm:resnet18", 64, [32, 16, 8, 4, 2])],
)
def test_stages_fall_in_size_and_end_with_the_features(
    architecture: str, side: int, sizes: list[int]
) -> None:
    model = build(architecture, num_classes=3, mean=[0.5] * 3, std=[0.25] * 3).eval()
    outputs, stages = staged(model, torch.rand(2, 3, side, side))
    assert [stage.shape[2] for stage in stages] == sizes
    assert stages[-1] is outputs.features
    assert all((stage >= 0).all() for stage in stages)
