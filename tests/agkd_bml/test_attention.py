"""Attention maps and their distances: by hand, and Grad-CAM against captum."""

from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.agkd_bml.attention import attention_map, cosine_distance, grad_cam, l1_distance
from worker.models import Classifier, build


def test_attention_map_by_hand() -> None:
    features = torch.tensor(
        [
            [[[1.0, 0.0], [2.0, 4.0]], [[0.0, 3.0], [3.0, 5.0]]],  # sums 1 3 / 5 9
            [[[-2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]],  # sums -2 0 / 2 0
        ]
    )
    expected = torch.tensor([[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.5], [1.0, 0.5]]])
    torch.testing.assert_close(attention_map(features), expected)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, 1e30])
def test_a_constant_map_is_zeros_with_a_finite_gradient(value: float) -> None:
    features = torch.full((2, 5, 3, 3), value, requires_grad=True)
    maps = attention_map(features)
    assert not maps.any()
    maps.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_rounding_is_not_attention() -> None:
    """The same numbers at every position, summed in another order."""
    torch.manual_seed(0)
    column = torch.rand(37)
    features = torch.stack([column[torch.randperm(37)] for _ in range(16)], dim=1).view(1, 37, 4, 4)
    assert len(features.sum(dim=1).unique()) > 1
    assert not attention_map(features).any()


def test_a_faint_map_is_still_scaled() -> None:
    features = torch.tensor([[[[1.0, 1.0], [1.0, 1.0 + 1e-4]]]])
    torch.testing.assert_close(
        attention_map(features), torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]), rtol=0, atol=1e-3
    )


@given(
    seed=st.integers(0, 1000),
    scale=st.floats(1e-3, 1e3),
    channels=st.integers(1, 8),
    side=st.integers(2, 6),
)
def test_attention_map_of_anything(seed: int, scale: float, channels: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(3, channels, side, side, generator=generator)
    maps = attention_map(features)
    assert maps.shape == (3, side, side)
    assert (maps.amin(dim=(1, 2)) == 0).all()
    assert (maps.amax(dim=(1, 2)) == 1).all()
    torch.testing.assert_close(attention_map(scale * features), maps, rtol=0, atol=1e-3)
    torch.testing.assert_close(attention_map(features[1:2]), maps[1:2])


def test_gradient_of_the_attention_map() -> None:
    torch.manual_seed(0)
    features = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention_map, (features,))


def test_l1_distance_by_hand() -> None:
    a = torch.tensor([[[0.0, 1.0], [0.5, 0.25]], [[1.0, 1.0], [1.0, 1.0]]])
    b = torch.tensor([[[1.0, 1.0], [0.0, 0.5]], [[1.0, 1.0], [1.0, 1.0]]])
    torch.testing.assert_close(l1_distance(a, b), torch.tensor([(1 + 0 + 0.5 + 0.25) / 4, 0.0]))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 0.0], [0.0, 1.0], 1.0),
        ([1.0, 0.0], [0.5, 0.0], 0.0),
        ([1.0, 0.0], [1.0, 1.0], 1 - 0.5**0.5),
        ([0.6, 0.8], [1.0, 0.0], 0.4),
        ([0.0, 0.0], [1.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 0.0], 1.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
    ],
)
def test_cosine_distance_by_hand(a: list[float], b: list[float], expected: float) -> None:
    found = cosine_distance(torch.tensor([[a]]), torch.tensor([[b]]))
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_cosine_distance_goes_image_by_image() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(2, 5, 4, 4).unbind()
    a[2] = 0
    found = cosine_distance(a, b)
    assert found.shape == (5,)
    for i in range(5):
        torch.testing.assert_close(found[i : i + 1], cosine_distance(a[i : i + 1], b[i : i + 1]))
    assert (cosine_distance(a, a) >= 0).all()
    torch.testing.assert_close(cosine_distance(a, a), torch.zeros(5))


def captum_grad_cam(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """captum's map, scaled to [0, 1] image by image."""
    maps = LayerGradCam(model, model.body).attribute(x, target=y, relu_attributions=True)
    scaled = []
    for cam in maps.detach().squeeze(1):
        assert cam.max() > cam.min()
        scaled.append((cam - cam.min()) / (cam.max() - cam.min()))
    return torch.stack(scaled)


@pytest.mark.parametrize(("architecture", "side"), [("wrn-10-2", 8), ("preactresnet-18", 4)])
def test_grad_cam_equals_captum(architecture: str, side: int) -> None:
    torch.manual_seed(0)
    model = build(architecture, num_classes=10, mean=[0.5] * 3, std=[0.25] * 3).double().eval()
    x = torch.rand(6, 3, 32, 32, dtype=torch.float64)
    y = model(x).argsort(dim=1)[:, -2]
    maps = grad_cam(model, x, y)
    assert maps.shape == (6, side, side)
    torch.testing.assert_close(maps, captum_grad_cam(model, x, y), rtol=0, atol=1e-6)


def test_grad_cam_depends_on_the_class_and_leaves_no_gradient(
    make_model: Callable[[int], Classifier],
) -> None:
    model = make_model(0)
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        maps = [grad_cam(model, x, torch.full((6,), c)) for c in (0, 1)]
    assert not torch.allclose(*maps)
    assert not any(m.requires_grad for m in maps)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_grad_cam_is_zeros_where_nothing_speaks_for_the_class(
    make_model: Callable[[int], Classifier],
) -> None:
    model = make_model(0)
    with torch.no_grad():
        model.head.weight.copy_(-model.head.weight.abs())
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    maps = grad_cam(model, x, torch.tensor([0, 1]))
    assert maps.shape == (2, 4, 4)
    assert not maps.any()
