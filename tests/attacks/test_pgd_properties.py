"""PGD: what holds for any input, what it computes and leaves alone, what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.attacks.oracle import LP, Linear, Recorder, batch, seeded, size, start_of
from worker.attacks import fgsm, pgd

any_attack = {
    "norm": st.sampled_from(LP),
    "targeted": st.booleans(),
    "random_start": st.booleans(),
    "eps": st.floats(0, 2),
    "step_size": st.floats(0, 2),
    "steps": st.integers(1, 4),
}


@given(seed=st.integers(0, 1000), **any_attack)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stays_in_the_ball_and_in_the_box(network: nn.Module, seed: int, **attack: Any) -> None:
    x, y = batch(3, seed)
    x, before = x.float(), x.float()
    x_adv = pgd(network.float(), x, y, generator=seeded(seed), **attack)
    assert (size(x_adv - x, attack["norm"]) <= attack["eps"] + 1e-6).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert not x_adv.requires_grad
    assert torch.equal(x, before)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    again = pgd(network, x, y, generator=seeded(seed), **attack)
    assert torch.equal(x_adv, again)


@given(
    eps=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    step_size=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    norm=st.sampled_from(LP),
    targeted=st.booleans(),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_budget_per_image_equals_separate_runs(
    network: nn.Module, eps: list[float], step_size: list[float], norm: Any, targeted: bool
) -> None:
    x, y = batch(3)

    def attack(x: Tensor, y: Tensor, eps: Any, step_size: Any) -> Tensor:
        return pgd(
            network,
            x,
            y,
            eps=eps,
            step_size=step_size,
            steps=3,
            norm=norm,
            targeted=targeted,
            random_start=False,
            generator=None,
        )

    together = attack(x, y, torch.tensor(eps).double(), torch.tensor(step_size).double())
    for i in range(3):
        one = slice(i, i + 1)
        eps_i, step_i = (torch.tensor(value[i]).double().item() for value in (eps, step_size))
        alone = attack(x[one], y[one], eps_i, step_i)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", LP)
def test_random_starts_are_uniform_in_the_ball(norm: Any) -> None:
    """Linf: each coordinate uniform. L2: (radius / eps)^d uniform, mean 1/2, variance 1/12."""
    x, y = torch.full((2000, 3, 2, 2), 0.5, dtype=torch.float64), torch.zeros(2000).long()
    start = start_of(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2).double()),
        x,
        y,
        eps=0.2,
        norm=norm,
        targeted=False,
        random_start=True,
        generator=seeded(),
    )
    delta = (start - x) / 0.2
    assert delta.mean().item() == pytest.approx(0, abs=0.02)
    uniform = (delta + 1) / 2 if norm == "linf" else size(delta, "l2") ** 12
    assert uniform.mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert uniform.var().item() == pytest.approx(1 / 12, abs=0.005)


@pytest.mark.parametrize("norm", LP)
def test_a_given_start_is_scaled_by_each_budget(network: nn.Module, norm: Any) -> None:
    x, y = batch(3)
    unit = torch.randn(3, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    unit = 0.8 * unit / size(unit, norm).view(-1, 1, 1, 1)
    eps = torch.tensor([0.0, 0.1, 0.2]).double()
    attack: dict[str, Any] = {"eps": eps, "norm": norm, "targeted": False, "random_start": True}
    start = start_of(network, x, y, generator=None, noise=unit, **attack)
    expected = (x + eps.view(-1, 1, 1, 1) * unit).clamp(0, 1)
    torch.testing.assert_close(start, expected, rtol=0, atol=1e-12)
    arguments = attack | {"step_size": 0.03, "steps": 2, "generator": None, "noise": unit}
    together = pgd(network, x, y, **arguments)
    alone = pgd(network, x[1:2], y[1:2], **(arguments | {"eps": 0.1, "noise": unit[1:2]}))
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", LP)
def test_a_zero_gradient_moves_nothing(norm: Any) -> None:
    def constant(x: Tensor) -> Tensor:
        return (0 * x).flatten(1)[:, :4]

    x, y = batch(3)
    assert torch.equal(fgsm(constant, x, y, eps=0.1, norm=norm, targeted=False), x)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e-30])
def test_the_length_of_the_gradient_changes_nothing(norm: Any, scale: float) -> None:
    """In single precision, where the squares of such gradients are 0."""
    model = Linear().float()
    x = 0.3 + 0.4 * torch.rand(5, 3, 4, 4, generator=seeded(1))
    expected = model.optimum(x, 0.2, norm)
    with torch.no_grad():
        model.w.mul_(scale)
    x_adv = fgsm(model, x, torch.zeros(5).long(), eps=0.2, norm=norm, targeted=False)
    torch.testing.assert_close(x_adv, expected)


@pytest.mark.parametrize("norm", LP)
def test_keeps_channels_last(network: nn.Module, norm: Any) -> None:
    x, y = batch(4)
    arguments: dict[str, Any] = {
        "eps": 0.1,
        "step_size": 0.03,
        "steps": 3,
        "norm": norm,
        "targeted": False,
        "random_start": True,
    }
    expected = pgd(network, x, y, generator=seeded(), **arguments)
    x = x.contiguous(memory_format=torch.channels_last)
    x_adv = pgd(network, x, y, generator=seeded(), **arguments)
    assert x_adv.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-9)


def test_works_where_gradients_are_off_and_leaves_the_mode_alone(network: nn.Module) -> None:
    x, y = batch(4)
    expected = fgsm(network, x, y, eps=0.1, norm="linf", targeted=False)
    with torch.no_grad():
        inside = fgsm(network, x, y, eps=0.1, norm="linf", targeted=False)
    assert torch.equal(inside, expected)
    assert not torch.equal(expected, x)
    network.train()
    fgsm(network, x, y, eps=0.1, norm="linf", targeted=False)
    assert network.training


@pytest.mark.parametrize("norm", LP)
def test_computes_no_parameter_gradient_and_waits_for_no_device(
    network: nn.Module, norm: Any
) -> None:
    x, y = batch(4)
    with Recorder() as recorder:
        pgd(
            network,
            x,
            y,
            eps=0.1,
            step_size=0.03,
            steps=3,
            norm=norm,
            targeted=False,
            random_start=True,
            generator=seeded(),
        )
    names = [name for name, _ in recorder.calls]
    masks = [args[-1] for name, args in recorder.calls if "convolution_backward" in name]
    assert masks == [[True, False, False]] * (2 * 3)  # 2 convolutions, 3 steps: input only
    assert not any("_local_scalar_dense" in name or "nonzero" in name for name in names)


valid: dict[str, Any] = {
    "eps": 0.1,
    "step_size": 0.03,
    "steps": 3,
    "norm": "linf",
    "targeted": False,
    "random_start": False,
    "generator": None,
}


@pytest.mark.parametrize("name", valid)
def test_nothing_has_a_default(network: nn.Module, name: str) -> None:
    x, y = batch(2)
    with pytest.raises(TypeError, match=name):
        pgd(network, x, y, **{key: value for key, value in valid.items() if key != name})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps must be finite and not negative"),
        ({"eps": float("nan")}, "eps must be finite"),
        ({"eps": torch.tensor([0.1, -0.1])}, "eps must be finite and not negative"),
        ({"eps": torch.tensor([0.1, 0.1, 0.1])}, "one number per image"),
        ({"eps": torch.tensor(0.1)}, "one number per image"),
        ({"step_size": float("inf")}, "step_size must be finite"),
        ({"step_size": torch.tensor([0.1, float("nan")])}, "step_size must be finite"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"norm": "l1"}, "norm is one of linf, l2"),
        ({"random_start": True}, "needs a generator or noise"),
        ({"random_start": True, "noise": torch.zeros(1, 3, 8, 8)}, "noise must be like x"),
    ],
)
def test_refused_arguments(network: nn.Module, arguments: dict[str, Any], message: str) -> None:
    x, y = batch(2)
    with pytest.raises(ValueError, match=message):
        pgd(network, x, y, **(valid | arguments))


@pytest.mark.parametrize(
    ("change_x", "change_y", "message"),
    [
        (lambda x: x[0], lambda y: y, "float images"),
        (lambda x: (255 * x).to(torch.uint8), lambda y: y, "float images"),
        (lambda x: x, lambda y: y[:1], "y must be int64"),
        (lambda x: x, lambda y: y.float(), "y must be int64"),
    ],
)
def test_refused_batches(
    network: nn.Module,
    change_x: Callable[[Tensor], Tensor],
    change_y: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    x, y = batch(2)
    with pytest.raises(ValueError, match=message):
        pgd(network, change_x(x), change_y(y), **valid)
