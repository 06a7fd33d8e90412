"""FAB-T: what the authors' code finds, and the exact distance to a plane."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from tests.attacks.oracle import seeded, size
from worker.attacks.fab import fab_targeted
from worker.attacks.norms import Norm

EPS: dict[Norm, float] = {"linf": 0.03, "l2": 0.35, "l1": 2.0}
STEPS = 15


@pytest.fixture
def network() -> nn.Module:
    return bent_network().float()


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    x, y = classified(bent_network(), 16)
    return x.float(), y


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_equals_the_authors_attack(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    x, y = images
    attack = FABAttack_PT(
        network, norm=norm.capitalize(), n_iter=STEPS, eps=EPS[norm], targeted=True,
        n_target_classes=3, device="cpu",
    )  # fmt: skip
    with torch.random.fork_rng():
        expected = attack.perturb(x, y)
    network.zero_grad()  # theirs computes gradients for the model
    network.requires_grad_(True)
    found = fab_targeted(network, x, y, eps=EPS[norm], steps=STEPS, norm=norm, targets=3, seed=0)
    broke = network(expected).argmax(dim=1) != y
    assert broke.any()
    assert not broke.all()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (size((found - x).double(), norm) <= EPS[norm] + 1e-6).all()
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3])
def test_breaks_a_linear_model_just_beyond_its_distance(norm: Norm, classes: int) -> None:
    """At |margin| / |gradient|_dual; one budget for each image, on both sides of that."""
    w = torch.randn(48, generator=seeded(), dtype=torch.float64)
    x = torch.full((4, 3, 4, 4), 0.5, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ w + 0.05
        return torch.stack([score, -score, -score - 1], dim=1)[:, :classes]

    dual = {"linf": w.abs().sum(), "l2": w.square().sum().sqrt(), "l1": w.abs().max()}[norm]
    eps = 0.05 / dual * torch.tensor([0.5, 0.95, 1.1, 2.0])
    y = torch.zeros(4).long()
    found = fab_targeted(model, x, y, eps=eps, steps=20, norm=norm, targets=9, seed=0)
    assert (model(found)[:, 0] < 0).tolist() == [False, False, True, True]
    assert torch.equal(found[:2], x[:2])


def test_broken_and_wrong_images_are_shown_no_more(network: nn.Module) -> None:
    x, y = classified(bent_network(), 40)
    x = x.float()
    y = torch.where(torch.arange(len(y)) < 3, (y + 1) % 6, y)
    seen = Seen(network)
    found = fab_targeted(seen, x, y, eps=0.03, steps=5, norm="linf", targets=9, seed=0)
    sizes = [len(shown) for shown in seen.images]
    withstood = int((network(found).argmax(dim=1) == y).sum())
    # All clean images; then two looks a step at those that stand, towards the first class.
    assert sizes[:11] == [40, *[37] * 10]
    towards = [sizes[begin] for begin in range(1, len(sizes), 10)]
    assert sizes[1:] == [size for size in towards for _ in range(10)]
    assert towards[1] < 32
    assert towards[1] >= withstood > 0
    assert torch.equal(found[:3], x[:3])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_few_images_go_towards_several_classes_at_once(
    images: tuple[Tensor, Tensor], norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And find what they find one class after the other."""
    x, y = images[0].double(), images[1]
    seen = Seen(bent_network())
    found = fab_targeted(seen, x, y, eps=EPS[norm], steps=STEPS, norm=norm, targets=5, seed=0)
    assert len(seen.images[0]) == 16
    assert len(seen.images[1]) == 32
    monkeypatch.setattr("worker.attacks.fab.FULL_BATCH", 1)
    slow = Seen(bent_network())
    again = fab_targeted(slow, x, y, eps=EPS[norm], steps=STEPS, norm=norm, targets=5, seed=0)
    assert len(seen.images) < len(slow.images) == 1 + 5 * 2 * STEPS
    torch.testing.assert_close(found, again, rtol=0, atol=1e-9)


def test_leaves_the_global_generator_and_may_be_cancelled(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    before, calls = torch.random.get_rng_state(), 0

    def model(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise KeyboardInterrupt
        logits: Tensor = network(x)
        return logits

    with pytest.raises(KeyboardInterrupt):
        fab_targeted(model, x, y, eps=0.03, steps=5, norm="linf", targets=9, seed=0)
    assert calls == 7
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps must be finite and not negative"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"norm": "l0"}, "norm is one of"),
    ],
)
def test_refused_arguments(
    network: nn.Module, images: tuple[Tensor, Tensor], arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"eps": 0.1, "norm": "linf", "steps": 3, "targets": 3, "seed": 0}
    with pytest.raises(ValueError, match=message):
        fab_targeted(network, *images, **(valid | arguments))
