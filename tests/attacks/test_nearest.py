"""DeepFool and Carlini-Wagner L2, which look for the nearest broken image, and random noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import foolbox
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.attacks.oracle import LP, NORMS, affine, batch, grey, seeded, size
from worker.attacks import Norm
from worker.attacks.cw_l2 import cw_l2
from worker.attacks.deepfool import deepfool
from worker.attacks.noise import noise
from worker.attacks.norms import uniform_in_ball

FAR = 100.0
"""A budget beyond every image."""


def nearest_boundary(model: nn.Sequential, x: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """The distance to the closest boundary of an affine model, by its formula."""
    w, z = model[1].weight, model(x)
    distances = []
    for one, c in zip(z, y.tolist(), strict=True):
        others = [k for k in range(len(one)) if k != c]
        slopes = size((w[others] - w[c]), "l1" if norm == "linf" else "l2")
        distances.append(((one[c] - one[others]) / slopes).min())
    return torch.stack(distances)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_deepfool_crosses_the_nearest_boundary_of_an_affine_model(norm: Norm, classes: int) -> None:
    model, x = affine(classes, seed=2), grey(6)
    y = model(x).argmax(dim=1)
    x_adv = deepfool(model, x, y, eps=FAR, norm=norm, classes=classes)
    expected = 1.02 * (nearest_boundary(model, x, y, norm) + 1e-4)
    assert (model(x_adv).argmax(dim=1) != y).all()
    torch.testing.assert_close(size(x_adv - x, norm), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("norm", "oracle"),
    [("linf", foolbox.attacks.LinfDeepFoolAttack), ("l2", foolbox.attacks.L2DeepFoolAttack)],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_deepfool_equals_foolbox(network: nn.Module, norm: Norm, oracle: Any, classes: int) -> None:
    x, _ = batch(16)
    y = network(x).argmax(dim=1)
    wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    expected, _, _ = oracle(candidates=classes)(wrapped, x, y, epsilons=None)
    x_adv = deepfool(network, x, y, eps=FAR, norm=norm, classes=classes)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e15])
def test_deepfool_is_blind_to_the_scale_of_logits(norm: Norm, scale: float) -> None:
    """In single precision, where the squares of such gradients are 0."""
    model = affine(3, seed=2).float()
    x = grey(6).float()
    y = model(x).argmax(dim=1)
    expected = deepfool(model, x, y, eps=FAR, norm=norm)
    x_adv = deepfool(lambda z: scale * model(z), x, y, eps=FAR, norm=norm)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", LP)
def test_deepfool_without_gradients_moves_nothing(norm: Norm) -> None:
    x, _ = batch(3)

    def flat(z: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, -1.0]) + 0 * z.flatten(1)[:, :3]

    y = torch.zeros(3).long()
    assert torch.equal(deepfool(flat, x, y, eps=FAR, norm=norm), x)


def test_cw_l2_finds_the_nearest_boundary_of_an_affine_model() -> None:
    model, x = affine(4, seed=2), grey(6)
    y = model(x).argmax(dim=1)
    optimum = nearest_boundary(model, x, y, "l2")
    near = cw_l2(model, x, y, eps=1.02 * optimum + 0.01)
    assert (model(near).argmax(dim=1) != y).all()
    assert (size(near - x, "l2") > optimum).all()
    short = cw_l2(model, x, y, eps=0.99 * optimum, searches=3)
    assert torch.equal(short, x)


def test_cw_l2_equals_foolbox(network: nn.Module) -> None:
    """A budget just as large as foolbox's best asks for the very same image; any less, for none."""
    x, _ = batch(8)
    y = network(x).argmax(dim=1)
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=40, stepsize=0.05, initial_const=0.1, abort_early=False
    )
    wrapped = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    expected, _, success = attack(wrapped, x, y, epsilons=None)
    assert success.all()
    distance = size(expected - x, "l2")
    ours = partial(cw_l2, network, x, y, searches=5, steps=40, step_size=0.05, constant=0.1)
    torch.testing.assert_close(ours(eps=distance + 1e-6), expected, rtol=0, atol=1e-6)
    assert torch.equal(ours(eps=0.999 * distance), x)
    nearest_first = size(ours(eps=1.5 * distance) - x, "l2")
    assert (nearest_first <= 1.5 * distance).all()


@pytest.mark.parametrize("norm", NORMS)
def test_noise_keeps_the_first_point_that_breaks(norm: Norm) -> None:
    model = affine(3, seed=2)
    x = grey(20)
    y = model(x).argmax(dim=1)
    eps = {"linf": 0.06, "l2": 0.5, "l1": 2.0}[norm]
    found = noise(model, x, y, eps=eps, norm=norm, draws=6, seed=0)
    expected, generator = x.clone(), seeded()
    for _ in range(6):
        standing = model(expected).argmax(dim=1) == y
        unit = torch.ones(20, 1, 1, 1, dtype=x.dtype)
        drawn = (x + eps * uniform_in_ball(x, unit, norm, generator)).clamp(0, 1)
        broke = standing & (model(drawn).argmax(dim=1) != y)
        expected = torch.where(broke.view(-1, 1, 1, 1), drawn, expected)
    assert torch.equal(found, expected)
    broken = model(found).argmax(dim=1) != y
    assert 0 < broken.sum() < 20
    fewer = noise(model, x, y, eps=eps, norm=norm, draws=2, seed=0)
    at_two = model(fewer).argmax(dim=1) != y
    assert at_two.sum() < broken.sum()
    assert torch.equal(fewer[at_two], found[at_two])


def quick_cw_l2(*arguments: Any, norm: Norm, eps: Any) -> Tensor:
    assert norm == "l2"
    return cw_l2(*arguments, eps=eps, searches=3, steps=8, step_size=0.1, constant=1.0)


Attack = Callable[..., Tensor]

ATTACKS: dict[str, tuple[Attack, list[Norm]]] = {
    "deepfool": (partial(deepfool, steps=5), LP),
    "cw_l2": (quick_cw_l2, ["l2"]),
    "noise": (lambda *a, **k: noise(*a, **k, draws=3, seed=0), NORMS),
}
CASES = [(name, norm) for name, (_, norms) in ATTACKS.items() for norm in norms]


@given(case=st.sampled_from(CASES), seed=st.integers(0, 1000), eps=st.floats(0, 3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stays_in_the_ball_and_in_the_box(
    network: nn.Module, case: tuple[str, Norm], seed: int, eps: float
) -> None:
    name, norm = case
    x, y = batch(4, seed)
    model, x, before = network.float(), x.float(), x.float()
    x_adv = ATTACKS[name][0](model, x, y, eps=eps, norm=norm)
    assert x_adv.isfinite().all()
    assert (size((x_adv - x).double(), norm) <= eps + 1e-6).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert not x_adv.requires_grad
    wrong = model(x).argmax(dim=1) != y
    assert torch.equal(x_adv[wrong], x[wrong])
    assert torch.equal(x, before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(x_adv, ATTACKS[name][0](model, x, y, eps=eps, norm=norm))


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_budget_per_image_equals_separate_runs(name: str, norm: Norm) -> None:
    """Each with its whole batch, so that noise is drawn alike."""
    network, x, attack = affine(3), grey(6), ATTACKS[name][0]
    y = network(x).argmax(dim=1)
    eps = torch.tensor([0.0, 0.02, 0.1, 0.5, 2.0, 50.0]).double()
    together = attack(network, x, y, eps=eps, norm=norm)
    for i, budget in enumerate(eps.tolist()):
        alone = attack(network, x, y, eps=budget, norm=norm)
        torch.testing.assert_close(together[i], alone[i], rtol=0, atol=1e-9)
    assert not torch.equal(together, x)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_keeps_channels_last(network: nn.Module, name: str, norm: Norm) -> None:
    x, _ = batch(6)
    y = network(x).argmax(dim=1)
    seen: list[bool] = []

    def watched(z: Tensor) -> Tensor:
        seen.append(z.is_contiguous(memory_format=torch.channels_last))
        return network(z)

    last = x.contiguous(memory_format=torch.channels_last)
    x_adv = ATTACKS[name][0](watched, last, y, eps=2.0, norm=norm)
    assert all(seen)
    assert x_adv.is_contiguous(memory_format=torch.channels_last)
    expected = ATTACKS[name][0](network, x, y, eps=2.0, norm=norm)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(name: str, norm: Norm, classes: int) -> None:
    model, x = affine(classes), grey(4)
    x_adv = ATTACKS[name][0](model, x, model(x).argmax(dim=1), eps=0.3, norm=norm)
    assert (size(x_adv - x, norm) <= 0.3 + 1e-9).all()


def test_broken_images_leave_the_batch(network: nn.Module) -> None:
    x, y = batch(16)
    correct = int((network(x).argmax(dim=1) == y).sum())
    sizes: list[int] = []

    def counted(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return network(z)

    deepfool(counted, x, y, eps=FAR, norm="l2")
    assert 0 < correct < 16
    assert sizes[:2] == [16, correct]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) < 20
    sizes.clear()
    cw_l2(counted, x, y, eps=FAR, steps=10, step_size=0.1, constant=1.0)
    assert sizes[:11] == [16, *[correct] * 10]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) % 10 == 1  # whole searches, until nothing is left
    assert len(sizes) < 1 + 9 * 10


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (partial(deepfool, norm="l1"), "norm is one of linf, l2"),
        (partial(deepfool, norm="l2", steps=0), "steps must be at least 1"),
        (partial(deepfool, norm="l2", classes=1), "classes must be at least 2"),
        (partial(cw_l2, searches=0), "searches must be at least 1"),
        (partial(cw_l2, steps=0), "steps must be at least 1"),
        (partial(noise, norm="l3", draws=1, seed=0), "norm is one of linf, l2, l1"),
        (partial(noise, norm="l1", draws=0, seed=0), "draws must be at least 1"),
    ],
)
def test_refused_arguments(network: nn.Module, attack: Attack, message: str) -> None:
    x, y = batch(2)
    with pytest.raises(ValueError, match=message):
        attack(network, x, y, eps=0.1)
    complete = ATTACKS[attack.func.__name__][0]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="eps must be finite and not negative"):
        complete(network, x, y, eps=-1.0, norm="l2")
