"""Auto-PGD against the authors' code, iterate by iterate, and against what is known by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted, L1_projection
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from tests.attacks.oracle import seeded, size
from worker.attacks.apgd import (
    apgd,
    apgd_restarts,
    apgd_targeted,
    dlr,
    most_likely_wrong,
    targeted_dlr,
)
from worker.attacks.ascent import project_in_box
from worker.attacks.losses import Loss, cross_entropy
from worker.attacks.norms import Ball, Norm

STEPS = 50
EPS: dict[Norm, float] = {"linf": 0.03, "l2": 0.35, "l1": 2.0}
LOSSES: dict[str, Loss] = {"ce": cross_entropy, "dlr": dlr}
"""By the names of the authors' code."""
AUTHORS_NORM = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@pytest.fixture
def double() -> Iterator[None]:
    """The authors' code makes its own tensors in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def network() -> nn.Module:
    return bent_network()


@pytest.fixture
def images(network: nn.Module) -> tuple[Tensor, Tensor]:
    """48 images that the network classifies correctly."""
    return classified(network)


def authors_run(
    network: nn.Module, attack: Any, x: Tensor, y: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The authors' iterates: first to break each image, or that of highest loss; and its number."""
    seen = Seen(network)
    attack.model = seen
    attack.init_hyperparam(x)
    best, *_ = attack.attack_single_run(x, y, x_init=start)
    iterates = torch.stack(seen.images)  # (steps + 1, N, C, H, W)
    with torch.no_grad():
        wrong = torch.stack([network(x_adv).argmax(dim=1) != y for x_adv in iterates])
    first = wrong.int().argmax(dim=0)
    broke = wrong.any(dim=0)
    best[broke] = iterates[first[broke], broke.nonzero().squeeze(1)]
    return best, torch.where(broke, first.clamp(min=1), attack.n_iter + 1)


def start_of(x: Tensor, noise: Tensor, norm: Norm) -> Tensor:
    """The authors' random start from what they draw."""
    return (x + EPS[norm] * noise / size(noise, norm).view(-1, 1, 1, 1)).clamp(0, 1)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("random_start", [False, True])
def test_follows_the_authors_code(
    network: nn.Module,
    images: tuple[Tensor, Tensor],
    norm: Norm,
    loss: str,
    random_start: bool,
) -> None:
    x, y = images
    noise = torch.randn(x.shape, generator=seeded(1), dtype=torch.float64)
    start = start_of(x, noise, norm) if random_start else x
    attack = APGDAttack(
        network, n_iter=STEPS, norm=AUTHORS_NORM[norm], eps=EPS[norm], loss=loss, device="cpu"
    )
    expected, first_break = authors_run(network, attack, x, y, start)
    found = apgd(
        network, x, y, eps=EPS[norm], steps=STEPS, norm=norm, loss=LOSSES[loss],
        noise=noise if random_start else None,
    )  # fmt: skip
    assert len(set(first_break.tolist())) >= 3  # broken by several numbers of steps, and never
    assert (first_break == STEPS + 1).any()
    assert found.first_break.tolist() == first_break.tolist()
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_follows_the_authors_code_target_by_target(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    x, y = images
    attack = APGDAttack_targeted(
        network, n_iter=STEPS, norm=AUTHORS_NORM[norm], eps=EPS[norm], device="cpu"
    )
    with torch.no_grad():
        ranking = network(x).argsort(dim=1, descending=True)
    generator, expected, left = seeded(5), x.clone(), torch.arange(len(x))
    broken_by = []
    for target in ranking[:, 1:].unbind(dim=1):
        draw = torch.rand if norm == "linf" else torch.randn
        noise = draw(x.shape, generator=generator)
        start = start_of(x, 2 * noise - 1 if norm == "linf" else noise, norm)[left]
        attack.y_target = target[left]
        x_adv, first_break = authors_run(network, attack, x[left], y[left], start)
        broke = first_break <= STEPS
        expected[left[broke]], left = x_adv[broke], left[~broke]
        broken_by.append(int(broke.sum()))
    found = apgd_targeted(network, x, y, eps=EPS[norm], steps=STEPS, norm=norm, targets=9, seed=5)
    assert sum(count > 0 for count in broken_by) >= 2  # more than one target breaks something
    assert len(left) > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_l1_breaks_what_the_authors_code_breaks_as_soon(
    network: nn.Module, images: tuple[Tensor, Tensor], loss: str
) -> None:
    """In single precision, as theirs, where rounding changes entries too: a few may differ."""
    network, (x, y), eps = network.float(), (images[0].float(), images[1]), EPS["l1"]
    attack = APGDAttack(network, n_iter=STEPS, norm="L1", eps=eps, loss=loss, device="cpu")
    torch.manual_seed(0)
    _, first_break = authors_run(network, attack, x, y, None)
    torch.manual_seed(0)
    drawn = torch.randn(x.shape)
    noise = (drawn + L1_projection(x, drawn, eps)) / eps
    found = apgd(network, x, y, eps=eps, steps=STEPS, norm="l1", loss=LOSSES[loss], noise=noise)
    assert len(set(first_break.tolist())) >= 4
    assert (first_break == STEPS + 1).any()
    assert (found.first_break != first_break).sum() <= 3


@pytest.mark.parametrize("targeted", [False, True])
def test_l1_from_larger_balls_breaks_what_the_authors_code_breaks(
    network: nn.Module, images: tuple[Tensor, Tensor], targeted: bool
) -> None:
    network, (x, y), eps = network.float(), (images[0].float(), images[1]), EPS["l1"]
    common: dict[str, Any] = {"n_iter": 30, "norm": "L1", "eps": eps, "seed": 3, "device": "cpu"}
    if targeted:
        attack = APGDAttack_targeted(network, n_target_classes=1, use_largereps=True, **common)
        mine = apgd_targeted(network, x, y, eps=eps, steps=30, norm="l1", targets=1, seed=3)
    else:
        attack = APGDAttack(network, use_largereps=True, **common)
        mine = apgd_restarts(network, x, y, eps=eps, steps=30, norm="l1", restarts=1, seed=3)
    theirs = attack.perturb(x, y)
    broken = network(mine).argmax(dim=1) != y
    assert (broken != (network(theirs).argmax(dim=1) != y)).sum() <= 3
    assert broken.any()
    assert not broken.all()


def capped_sum_by_bisection(sizes: Tensor, room: Tensor, eps: float) -> Tensor:
    """min(max(size - λ, 0), room) for the least λ >= 0 whose sum is at most eps; sizes (D,)."""
    low, high = 0.0, sizes.max().item()
    for _ in range(200):
        middle = (low + high) / 2
        if torch.minimum((sizes - middle).clamp(min=0), room).sum() > eps:
            low = middle
        else:
            high = middle
    whole = torch.minimum(sizes, room)
    return whole if whole.sum() <= eps else torch.minimum((sizes - high).clamp(min=0), room)


@given(seed=st.integers(0, 10_000), eps=st.floats(0, 6), scale=st.sampled_from([0.0, 0.01, 1.0, 5]))
@settings(max_examples=60)
def test_projects_onto_ball_and_box_at_once(seed: int, eps: float, scale: float) -> None:
    generator = seeded(seed)
    x = torch.rand(2, 1, 3, 3, generator=generator, dtype=torch.float64).round(decimals=1)
    delta = scale * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    projected = project_in_box(delta, Ball.around(x, eps, "l1"))
    assert (size(projected, "l1") <= eps + 1e-12).all()
    assert (x + projected).min() >= -1e-12
    assert (x + projected).max() <= 1 + 1e-12
    for i in range(2):
        room = torch.where(delta[i] > 0, 1 - x[i], x[i])
        expected = delta[i].sign() * capped_sum_by_bisection(delta[i].abs(), room, eps)
        torch.testing.assert_close(projected[i], expected, rtol=0, atol=1e-5)


def test_projects_as_the_authors_do() -> None:
    x = torch.rand(4, 3, 8, 8, generator=seeded())
    delta = torch.randn(x.shape, generator=seeded(1))
    mine = project_in_box(delta, Ball.around(x, 3.0, "l1"))
    torch.testing.assert_close(mine, delta + L1_projection(x, delta, 3.0), rtol=0, atol=1e-5)


def test_reaches_the_l1_optimum_of_a_linear_model() -> None:
    """Where entries are filled up to the box, the steepest first, until the budget is spent."""
    w = torch.randn(48, generator=seeded(), dtype=torch.float64)
    x = torch.rand(5, 3, 4, 4, generator=seeded(1), dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ w + 1000  # never broken
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    found = apgd(
        model, x, torch.zeros(5).long(), eps=2.0, steps=100, norm="l1", loss=dlr, noise=None
    )
    assert (found.first_break == 101).all()
    for image, x_adv in zip(x.flatten(1), found.x_adv.flatten(1), strict=True):
        best, budget = image.clone(), 2.0
        for entry in w.abs().argsort(descending=True):
            to = 0.0 if w[entry] > 0 else 1.0
            change = min(budget, abs(to - image[entry].item()))
            best[entry] -= change * w[entry].sign()
            budget -= change
        gained, possible = ((image - end) @ w for end in (x_adv, best))
        assert gained <= possible + 1e-9
        assert gained >= 0.98 * possible


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_reaches_the_optimum_of_a_linear_model(norm: Norm) -> None:
    w = torch.randn(48, generator=seeded(), dtype=torch.float64)
    x = 0.4 + 0.2 * torch.rand(5, 3, 4, 4, generator=seeded(1), dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ w + 1000
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    y, eps = torch.zeros(5).long(), torch.tensor([0.0, 0.1, 0.2, 0.3, 0.05]).double()
    found = apgd(model, x, y, eps=eps, steps=20, norm=norm, loss=dlr, noise=None).x_adv
    direction = w.sign() if norm == "linf" else w / w.square().sum().sqrt()
    expected = x - eps.view(-1, 1, 1, 1) * direction.view(3, 4, 4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_stays_in_the_ball_and_in_the_box(network: nn.Module, norm: Norm) -> None:
    """In single precision, with a tolerance of 1e-6."""
    network = network.float()
    x = torch.rand(8, 3, 8, 8, generator=seeded()).round(decimals=1)
    with torch.no_grad():
        y = network(x).argmax(dim=1)
    noise = torch.randn(x.shape, generator=seeded(1))
    noise = noise / size(noise, norm).view(-1, 1, 1, 1)
    for eps in (0.0, EPS[norm], 4 * EPS[norm]):
        both = (
            apgd(network, x, y, eps=eps, steps=8, norm=norm, loss=dlr, noise=noise).x_adv,
            apgd_targeted(network, x, y, eps=eps, steps=8, norm=norm, targets=3, seed=0),
        )
        for x_adv in both:
            assert (size((x_adv - x).double(), norm) <= eps + 1e-6).all()
            assert x_adv.min() >= 0
            assert x_adv.max() <= 1
            assert not x_adv.requires_grad
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_budget_per_image_equals_separate_runs(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    x, y = images[0][:3], images[1][:3]
    eps = EPS[norm] * torch.tensor([0.0, 0.5, 1.0])
    common: dict[str, Any] = {"steps": 12, "norm": norm, "loss": cross_entropy, "noise": None}
    together = apgd(network, x, y, eps=eps, **common)
    for i in range(3):
        one = slice(i, i + 1)
        alone = apgd(network, x[one], y[one], eps=eps[i].item(), **common)
        torch.testing.assert_close(together.x_adv[one], alone.x_adv, rtol=0, atol=1e-6)
        assert together.first_break[i] == alone.first_break[0]


def test_broken_images_leave_the_batch(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    y = torch.where(torch.arange(len(y)) < 4, (y + 1) % 6, y)  # 4 are wrong already
    seen = Seen(network)
    _, first_break = apgd(
        seen, x, y, eps=EPS["linf"], steps=STEPS, norm="linf", loss=cross_entropy, noise=None
    )
    sizes = [len(shown) for shown in seen.images]
    # All clean images, then x itself, and after s steps those that s - 1 steps did not break.
    left = [int((first_break > step).sum()) for step in range(STEPS)]
    assert sizes == [len(x), left[0], *left]
    assert left[0] == len(x) - 4
    assert first_break[:4].tolist() == [0] * 4


def test_stops_when_nothing_is_left(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    seen = Seen(network)
    wrong = (y + 1) % 6
    found = apgd(seen, x, wrong, eps=0.1, steps=9, norm="linf", loss=cross_entropy, noise=None)
    again = apgd_targeted(seen, x, wrong, eps=0.1, steps=9, norm="l1", targets=3, seed=0)
    assert not found.first_break.any()
    assert torch.equal(found.x_adv, x)
    assert torch.equal(again, x)
    assert len(seen.images) == 2


def test_starts_depend_on_the_seed_alone(network: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    before = torch.random.get_rng_state()

    def attack(seed: int) -> Tensor:
        return apgd_targeted(network, x, y, eps=0.03, steps=3, norm="linf", targets=2, seed=seed)

    first = attack(0)
    torch.rand(7)
    assert torch.equal(attack(0), first)
    assert not torch.equal(attack(1), first)
    torch.random.set_rng_state(before)
    attack(0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_works_with_few_classes(classes: int, norm: Norm) -> None:
    """A linear model breaks at |margin| / |w|_dual; budgets on both sides of that."""
    w = torch.randn(48, generator=seeded(), dtype=torch.float64)
    x = 0.5 + torch.zeros(4, 3, 4, 4, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ w + 0.05
        return torch.stack([score, -score, -score - 1], dim=1)[:, :classes]

    dual = {"linf": w.abs().sum(), "l2": w.square().sum().sqrt(), "l1": w.abs().max()}[norm]
    eps = 0.05 / dual * torch.tensor([0.5, 0.95, 1.2, 2.0])
    y = torch.zeros(4).long()
    common: dict[str, Any] = {"eps": eps, "steps": 60, "norm": norm}
    by_dlr = apgd(model, x, y, loss=dlr, noise=None, **common)
    assert (by_dlr.first_break <= 60).tolist() == [False, False, True, True]
    by_target = apgd_targeted(model, x, y, targets=9, seed=0, **common)
    assert (model(by_target)[:, 0] < 0).tolist() == [False, False, True, True]


def test_the_ratios_by_hand() -> None:
    logits = torch.tensor([[5.0, 3.0, 2.0, 1.0], [1.0, 3.0, 2.0, 5.0]])
    y, target = torch.tensor([0, 0]), torch.tensor([2, 1])
    # -(5 - 3) / (5 - 2) and -(1 - 5) / (5 - 2)
    torch.testing.assert_close(dlr(logits, y), torch.tensor([-2 / 3, 4 / 3]))
    # -(5 - 2) / (5 - (2 + 1) / 2) and -(1 - 3) / (5 - (2 + 1) / 2)
    torch.testing.assert_close(targeted_dlr(logits, y, target), torch.tensor([-3 / 3.5, 2 / 3.5]))
    torch.testing.assert_close(dlr(3 * logits + 1, y), dlr(logits, y))
    torch.testing.assert_close(dlr(logits[:, :2], y), torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(targeted_dlr(logits[:, :3], y, target), torch.tensor([-3.0, 2.0]))
    assert most_likely_wrong(logits, y, 2).tolist() == [[1, 2], [3, 1]]
    assert most_likely_wrong(logits, y, 9).shape == (2, 3)


def test_a_cancelled_model_ends_the_attack_at_any_step(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    for allowed in (0, 1, 5):
        calls = 0

        def model(x: Tensor, allowed: int = allowed) -> Tensor:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise KeyboardInterrupt
            logits: Tensor = network(x)
            return logits

        with pytest.raises(KeyboardInterrupt):
            apgd_targeted(model, x, y, eps=0.01, steps=9, norm="linf", targets=3, seed=0)
        assert calls == allowed + 1


VALID: dict[str, Any] = {
    "eps": 0.1,
    "steps": 3,
    "norm": "linf",
    "loss": cross_entropy,
    "noise": None,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps must be finite and not negative"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"norm": "l0"}, "norm is one of"),
        ({"noise": torch.zeros(1, 3, 8, 8)}, "noise must be like x"),
    ],
)
def test_refused_arguments(
    network: nn.Module, images: tuple[Tensor, Tensor], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        apgd(network, *images, **(VALID | arguments))
    with pytest.raises(ValueError, match="targets must be at least 1"):
        apgd_targeted(network, *images, eps=0.1, steps=3, norm="linf", targets=0, seed=0)
    with pytest.raises(ValueError, match="restarts must be at least 1"):
        apgd_restarts(network, *images, eps=0.1, steps=3, norm="linf", restarts=0, seed=0)
