"""Lengths, projections and random points, against definitions and hand calculation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.attacks.oracle import LP, NORMS, seeded, size, unit_noise
from worker.attacks.norms import Ball, Norm, length, project, steepest


def perturbations(n: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, 3, 4, 4, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
def test_lengths(norm: Norm) -> None:
    delta = perturbations(5, 0)
    torch.testing.assert_close(length(delta, norm), size(delta, norm))
    corner = torch.tensor([3.0, -4.0, 0.0]).view(1, 3, 1, 1)
    assert length(corner, norm).item() == {"linf": 4, "l2": 5, "l1": 7}[norm]


def test_projection_onto_the_l1_ball_by_hand() -> None:
    delta = torch.tensor([[3.0, -1.0, 0.5], [0.2, 0.1, -0.3], [1.0, 1.0, -1.0], [2.0, -2.0, 0.0]])
    eps = torch.tensor([2.0, 1.0, 1.5, 0.0]).view(-1, 1, 1, 1)
    expected = torch.tensor([[2.0, 0.0, 0.0], [0.2, 0.1, -0.3], [0.5, 0.5, -0.5], [0.0, 0.0, 0.0]])
    projected = project(delta.view(4, 3, 1, 1), eps, "l1")
    torch.testing.assert_close(projected, expected.view(4, 3, 1, 1))


def by_bisection(delta: Tensor, eps: float) -> Tensor:
    """The L1 projection of one perturbation: shrink all entries alike until the sum fits."""
    if delta.abs().sum() <= eps:
        return delta
    low, high = 0.0, delta.abs().max().item()
    for _ in range(100):
        middle = (low + high) / 2
        if (delta.abs() - middle).clamp(min=0).sum() > eps:
            low = middle
        else:
            high = middle
    return delta.sign() * (delta.abs() - high).clamp(min=0)


@given(seed=st.integers(0, 1000), eps=st.lists(st.floats(0, 50), min_size=3, max_size=3))
@settings(max_examples=50)
def test_projection_onto_the_l1_ball(seed: int, eps: list[float]) -> None:
    delta = perturbations(3, seed)
    projected = project(delta, torch.tensor(eps).double().view(-1, 1, 1, 1), "l1")
    for one, found, radius in zip(delta, projected, torch.tensor(eps).double(), strict=True):
        torch.testing.assert_close(found, by_bisection(one, radius.item()), rtol=0, atol=1e-9)


@given(
    seed=st.integers(0, 1000),
    eps=st.floats(0, 10),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
    norm=st.sampled_from(NORMS),
)
@settings(max_examples=80)
def test_the_projection_is_the_nearest_point_of_the_ball(
    seed: int, eps: float, scale: float, norm: Norm
) -> None:
    delta = perturbations(4, seed, scale)
    projected = project(delta, torch.full((4, 1, 1, 1), eps, dtype=torch.float64), norm)
    assert (size(projected, norm) <= eps + 1e-9).all()
    others = eps * unit_noise(delta, norm, seed)
    assert (size(delta - projected, "l2") <= size(delta - others, "l2") + 1e-9).all()
    again = project(projected, torch.full((4, 1, 1, 1), eps, dtype=torch.float64), norm)
    torch.testing.assert_close(again, projected, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 1000), eps=st.floats(0, 3), norm=st.sampled_from(NORMS))
@settings(max_examples=50)
def test_a_ball_keeps_to_its_radius_and_to_the_box(seed: int, eps: float, norm: Norm) -> None:
    x = torch.rand(4, 3, 4, 4, generator=seeded(seed))
    ball = Ball.around(x, eps, norm)
    for inside in (
        ball.at(unit_noise(x, norm, seed)),
        ball.project(x + perturbations(4, seed).float()),
    ):
        assert (size((inside - x).double(), norm) <= eps + 1e-6).all()
        assert inside.min() >= 0
        assert inside.max() <= 1
    assert torch.equal(ball.at(None), x)
    rows = torch.tensor([2, 0])
    assert torch.equal(ball[rows].project(x[rows] + 0.1), ball.project(x + 0.1)[rows])


def test_points_are_uniform_in_the_l1_ball() -> None:
    """(length / eps)^d is uniform, signs are even, and the mean of |δ_i| is eps / (d + 1)."""
    x = torch.zeros(4000, 3, 2, 2, dtype=torch.float64)
    delta = unit_noise(x, "l1")
    uniform = size(delta, "l1") ** 12
    assert uniform.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=0.005)
    assert delta.mean().item() == pytest.approx(0, abs=0.002)
    means = delta.abs().mean(dim=0).flatten()
    torch.testing.assert_close(means, torch.full((12,), 1 / 13).double(), rtol=0.06, atol=0)


@pytest.mark.parametrize("norm", LP)
def test_a_broken_gradient_gives_a_finite_step(norm: Norm) -> None:
    """NaN counts as no gradient, and the infinite as the largest of all."""
    bad: list[Any] = [float("nan"), float("inf"), 1.0, float("-inf"), 0.0, -2.0]
    gradient = torch.tensor(bad).view(2, 3, 1, 1)
    step = steepest(gradient, norm).flatten()
    assert step[0] == 0
    assert step[1] == 1
    assert step[3] == -1
    assert step[4] == 0
    assert step.isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_projection_keeps_channels_last(norm: Norm) -> None:
    delta = perturbations(4, 0).contiguous(memory_format=torch.channels_last)
    projected = project(delta, torch.full((4, 1, 1, 1), 0.5).double(), norm)
    assert projected.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        projected, project(delta.contiguous(), torch.full((4, 1, 1, 1), 0.5).double(), norm)
    )
