"""Iterative attacks: what holds for any input, what they leave alone, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.attacks.oracle import LP, Recorder, affine, batch, seeded, size, steps_of, unit_noise
from worker.attacks import FirstBreak, Norm, Steps, feature_attack, iterate, projected_ascent
from worker.models import Classifier, Outputs

METHODS = ["fgsm", "bim", "pgd", "mi_fgsm", "cw", "apgd_ce", "apgd_dlr"]
TARGETABLE = METHODS[:5]
FIXTURE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run(model: Any, x: Tensor, y: Tensor, method: str, norm: Norm, **changed: Any) -> FirstBreak:
    """Three steps from random points, inside 0.1 or what `changed` says."""
    given: dict[str, Any] = {"eps": 0.1, "noise": unit_noise(x, norm), "steps": 3} | changed
    steps, random_start = given.pop("steps"), given.pop("random_start", True)
    how = steps_of(method, steps, 0.4, random_start)
    return iterate(model, x, y, how=how, norm=norm, **given)


@given(
    method=st.sampled_from(METHODS),
    norm=st.sampled_from(LP),
    seed=st.integers(0, 1000),
    eps=st.floats(0, 2),
    random_start=st.booleans(),
    steps=st.integers(1, 4),
    targeted=st.booleans(),
)
@FIXTURE
def test_stays_in_the_ball_and_in_the_box_and_says_what_it_broke(
    network: nn.Module, method: str, norm: Norm, seed: int, targeted: bool, **changed: Any
) -> None:
    x, y = batch(4, seed)
    model, x, before = network.float(), x.float(), x.float()
    if targeted and method in TARGETABLE:
        changed["target"] = (y + 1) % 4
    steps = 1 if method == "fgsm" else changed["steps"]
    found = run(model, x, y, method, norm, **changed)
    assert found.x_adv.isfinite().all()
    assert (size((found.x_adv - x).double(), norm) <= changed["eps"] + 1e-6).all()
    assert found.x_adv.min() >= 0
    assert found.x_adv.max() <= 1
    assert not found.x_adv.requires_grad
    assert found.first_break.dtype == torch.int64
    assert ((found.first_break >= 0) & (found.first_break <= steps + 1)).all()
    clean_wrong = model(x).argmax(dim=1) != y
    assert torch.equal(found.first_break == 0, clean_wrong)
    assert torch.equal(found.x_adv[clean_wrong], x[clean_wrong])
    assert torch.equal(found.first_break <= steps, model(found.x_adv).argmax(dim=1) != y)
    assert torch.equal(x, before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(run(model, x, y, method, norm, **changed).x_adv, found.x_adv)


@given(
    method=st.sampled_from(METHODS),
    norm=st.sampled_from(LP),
    eps=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
@FIXTURE
def test_a_budget_per_image_equals_separate_runs(
    network: nn.Module, method: str, norm: Norm, eps: list[float]
) -> None:
    x, _ = batch(3)
    y, noise = network(x).argmax(dim=1), unit_noise(x, norm)
    together = run(network, x, y, method, norm, eps=torch.tensor(eps).double())
    for i in range(3):
        one = slice(i, i + 1)
        budget = torch.tensor(eps[i]).double().item()
        alone = run(network, x[one], y[one], method, norm, eps=budget, noise=noise[one])
        torch.testing.assert_close(together.x_adv[one], alone.x_adv, rtol=0, atol=1e-6)
        assert torch.equal(together.first_break[one], alone.first_break)


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("method", METHODS)
def test_keeps_channels_last(network: nn.Module, method: str, norm: Norm) -> None:
    """Also for the model, after images have left the batch."""
    x, _ = batch(16)
    y, noise = network(x).argmax(dim=1), unit_noise(x, norm)
    eps = torch.linspace(0, 0.15 if norm == "linf" else 1.5, 16).double()
    expected = run(network, x, y, method, norm, eps=eps)
    assert len(expected.first_break.unique()) >= 2
    seen: list[bool] = []

    def watched(z: Tensor) -> Tensor:
        seen.append(z.is_contiguous(memory_format=torch.channels_last))
        return network(z)

    last = x.contiguous(memory_format=torch.channels_last)
    found = run(watched, last, y, method, norm, eps=eps, noise=noise)
    assert all(seen)
    assert found.x_adv.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.x_adv, expected.x_adv, rtol=0, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("method", METHODS)
def test_few_classes(method: str, norm: Norm, classes: int) -> None:
    """In a box as large as the images, an affine model always breaks."""
    model = affine(classes)
    x = torch.rand(6, 3, 4, 4, generator=seeded(), dtype=torch.float64)
    y = model(x).argmax(dim=1)
    eps = 1.0 if norm == "linf" else 7.0
    found = run(model, x, y, method, norm, eps=eps, steps=20)
    assert (found.first_break > 0).all()
    assert (model(found.x_adv).argmax(dim=1) != y).all()
    if method in TARGETABLE:
        aimed = run(model, x, y, method, norm, eps=eps, steps=20, target=(y + 1) % classes)
        assert (aimed.first_break <= 20).any()


@pytest.mark.parametrize("norm", LP)
@pytest.mark.parametrize("method", TARGETABLE)
def test_gradients_that_are_no_numbers_leave_finite_images(method: str, norm: Norm) -> None:
    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            broken = gradient.clone()
            broken[:, 0, 0] = float("nan")
            broken[:, 1, 0] = float("inf")
            return broken

    model = affine(3)
    x = torch.rand(6, 3, 4, 4, generator=seeded(), dtype=torch.float64)
    y = model(x).argmax(dim=1)
    found = run(lambda z: model(Root.apply(z)), x, y, method, norm)
    assert found.x_adv.isfinite().all()
    assert (size(found.x_adv - x, norm) <= 0.1 + 1e-9).all()


@pytest.mark.parametrize("method", ["bim", "pgd", "mi_fgsm", "cw"])
def test_waits_for_the_device_once_a_step(network: nn.Module, method: str) -> None:
    x, _ = batch(4)
    y = network(x).argmax(dim=1)
    with Recorder() as recorder:
        found = run(network, x, y, method, "linf", eps=0.001, steps=5)
    assert (found.first_break == 6).all()  # or fewer steps would be taken
    names = [name for name, _ in recorder.calls]
    assert sum("nonzero" in name for name in names) == 1 + 5  # the clean pass, then each step
    assert not any("_local_scalar_dense" in name or "masked_select" in name for name in names)
    assert not any(
        "aten.index" in name and any(mask.dtype == torch.bool for mask in masks(args))
        for name, args in recorder.calls
    )
    gradients = [args[-1] for name, args in recorder.calls if "convolution_backward" in name]
    assert gradients == [[True, False, False]] * (2 * 5)  # 2 convolutions, of the input alone


def masks(args: Any) -> list[Tensor]:
    return [index for index in args[1] if isinstance(index, Tensor)]


class Small(nn.Module):
    """The network as a classifier that shows an embedding."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.body, self.head = network[:-1], network[-1]

    def outputs(self, x: Tensor) -> Outputs:
        embedding = self.body(x)
        return Outputs(x, embedding, self.head(embedding))


@pytest.mark.parametrize("norm", LP)
def test_the_feature_attack_moves_the_embedding_away_and_keeps_to_the_ball(
    network: nn.Sequential, norm: Norm
) -> None:
    model = Small(network)
    x, _ = batch(12)
    y, noise = network(x).argmax(dim=1), unit_noise(x, norm)
    eps = 0.03 if norm == "linf" else 0.3
    first, last = (
        feature_attack(
            model, x, y, eps=eps, step_size=0.3 * eps, steps=steps, norm=norm, noise=noise
        )
        for steps in (1, 12)
    )

    def moved(found: FirstBreak) -> Tensor:
        clean = model.outputs(x).embedding
        return (model.outputs(found.x_adv).embedding - clean).norm(dim=1)

    standing = last.first_break == 13
    assert standing.any()
    assert (moved(last) > moved(first))[standing].all()
    assert (size(last.x_adv - x, norm) <= eps + 1e-9).all()
    broke = network(last.x_adv).argmax(dim=1) != y
    assert torch.equal(broke, last.first_break <= 12)


def test_the_feature_attack_takes_the_classifiers_of_the_lab() -> None:
    torch.manual_seed(0)
    body = nn.Conv2d(3, 6, 3, padding=1)
    model = Classifier(body=body, feature_dim=6, num_classes=3, mean=[0.5] * 3, std=[0.25] * 3)
    model = model.double().eval()
    x, _ = batch(4)
    y, noise = model(x).argmax(dim=1), unit_noise(x, "linf")
    found = feature_attack(model, x, y, eps=0.05, step_size=0.01, steps=5, norm="linf", noise=noise)
    assert found.x_adv.shape == x.shape
    assert not torch.equal(found.x_adv, x)


@pytest.mark.parametrize(
    ("how", "changed", "message"),
    [
        (steps_of("pgd", 0, 0.25, False), {}, "steps must be at least 1"),
        (steps_of("pgd", 3, 0.25, True), {"noise": None}, "a random start needs noise"),
        (
            steps_of("pgd", 3, 0.25, True),
            {"noise": torch.zeros(1, 3, 8, 8)},
            "noise must be like x",
        ),
        (steps_of("pgd", 3, float("nan"), False), {}, "step_size must be finite"),
        (steps_of("pgd", 3, 0.25, False), {"eps": -0.1}, "eps must be finite and not negative"),
        (steps_of("pgd", 3, 0.25, False), {"eps": torch.zeros(3)}, "one number per image"),
        (steps_of("pgd", 3, 0.25, False), {"norm": "l1"}, "norm is one of linf, l2"),
        (
            steps_of("cw", 3, 0.25, False),
            {"target": torch.zeros(3).long()},
            "target must be like y",
        ),
        (steps_of("cw", 3, 0.25, False), {"target": torch.zeros(2)}, "target must be like y"),
    ],
)
def test_refused_arguments(
    network: nn.Module, how: Steps, changed: dict[str, Any], message: str
) -> None:
    x, y = batch(2)
    given: dict[str, Any] = {"eps": 0.1, "norm": "linf", "noise": None}
    with pytest.raises(ValueError, match=message):
        iterate(network, x, y, how=how, **(given | changed))


@pytest.mark.parametrize("name", ["how", "eps", "norm", "noise"])
def test_nothing_has_a_default(network: nn.Module, name: str) -> None:
    x, y = batch(2)
    given: dict[str, Any] = {
        "how": steps_of("pgd", 1, 1.0, False),
        "eps": 0.1,
        "norm": "linf",
        "noise": None,
    }
    del given[name]
    with pytest.raises(TypeError, match=name):
        iterate(network, x, y, **given)


def test_a_projected_ascent_refuses_what_iterative_attacks_refuse(network: nn.Module) -> None:
    x, y = batch(2)

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("not called")

    given: dict[str, Any] = {"eps": 0.1, "step_size": 0.1, "norm": "linf", "noise": None}
    with pytest.raises(ValueError, match="steps must be at least 1"):
        projected_ascent(objective, network, x, y, steps=0, **given)
    with pytest.raises(ValueError, match="y must be int64"):
        projected_ascent(objective, network, x, y.float(), steps=1, **given)


@pytest.mark.parametrize("method", METHODS)
def test_a_watch_sees_what_the_model_sees(network: nn.Module, method: str) -> None:
    x, y = batch(4, 0)
    shown: list[Tensor] = []
    seen: dict[int, Tensor] = {}

    def model(x: Tensor) -> Tensor:
        shown.append(x.detach())
        return network(x)

    found = run(model, x, y, method, "linf", may_break=False, watch=seen.__setitem__)
    assert list(seen) == ([0, 1] if method == "fgsm" else [0, 1, 2, 3])
    for step, iterate_ in seen.items():
        assert torch.equal(iterate_, shown[step - len(seen)])
    if not method.startswith("apgd"):  # whose last iterate need not be its best
        assert torch.equal(seen[len(seen) - 1], found.x_adv)


def test_a_watch_is_refused_where_images_leave(network: nn.Module) -> None:
    x, y = batch(4, 0)
    with pytest.raises(ValueError, match="may_break=False"):
        run(network, x, y, "pgd", "linf", watch=lambda step, x_adv: None)
