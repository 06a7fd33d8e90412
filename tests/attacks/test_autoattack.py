"""AutoAttack: the authors' values, that they reach the loops, and the authors' own result."""

from __future__ import annotations

import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from tests.attacks.oracle import seeded, size
from worker.attacks.autoattack import AUTOATTACK_PARTS, STANDARD, autoattack, autoattack_part
from worker.attacks.norms import Norm

NORMS: list[Norm] = ["linf", "l2", "l1"]
EPS: dict[Norm, float] = {"linf": 0.03, "l2": 0.35, "l1": 2.0}


def steadfast(classes: int) -> nn.Module:
    """Linear, with gradients, and so sure of class 0 that nothing breaks it."""
    last = nn.Linear(3 * 8 * 8, classes)
    with torch.no_grad():
        last.weight.copy_(0.01 * torch.randn(last.weight.shape, generator=seeded()))
        last.bias.copy_(torch.linspace(0, -1, classes))
        last.bias[0] = 50.0
    return nn.Sequential(nn.Flatten(), last)


def calls_of(part: str, norm: Norm, classes: int) -> int:
    """How many images a part shows the model, of one that withstands."""
    seen = Seen(steadfast(classes))
    x = torch.rand(1, 3, 8, 8, generator=seeded())
    x_adv = autoattack_part(part, seen, x, torch.zeros(1).long(), eps=0.1, norm=norm, seed=0)
    assert (size((x_adv - x).double(), norm) <= 0.1 + 1e-6).all()
    return sum(len(shown) for shown in seen.images)


def test_the_standard_values_are_the_authors() -> None:
    assert AUTOATTACK_PARTS == ("apgd_ce", "apgd_t", "fab_t", "square")
    for norm in NORMS:
        theirs = AutoAttack(nn.Identity(), norm=norm.capitalize(), eps=0.1, version="standard")
        assert theirs.attacks_to_run == ["apgd-ce", "apgd-t", "fab-t", "square"]
        mine = STANDARD[norm]
        assert mine.steps == theirs.apgd.n_iter == theirs.apgd_targeted.n_iter == theirs.fab.n_iter
        assert mine.restarts == theirs.apgd.n_restarts
        assert mine.apgd_targets == theirs.apgd_targeted.n_target_classes
        assert mine.fab_targets == theirs.fab.n_target_classes
        assert mine.queries == theirs.square.n_queries
        assert theirs.fab.n_restarts == theirs.square.n_restarts == 1
    assert STANDARD["linf"] == STANDARD["l2"] == (100, 1, 9, 9, 5000)
    assert STANDARD["l1"] == (100, 5, 5, 9, 5000)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("classes", "targets"), [(12, 9), (10, 9), (3, 2), (2, 1)])
def test_the_values_reach_the_loops(norm: Norm, classes: int, targets: int) -> None:
    """The clean image; then, for each run, the start and 100 steps."""
    assert calls_of("apgd_ce", norm, classes) == 1 + 101
    assert calls_of("apgd_t", norm, classes) == 1 + targets * 101
    # Two looks a step.
    assert calls_of("fab_t", norm, classes) == 1 + targets * 200


def test_the_values_reach_the_loops_in_l1() -> None:
    """Every run has three parts of 30, 30 and 40 steps, each with a start."""
    assert calls_of("apgd_ce", "l1", 10) == 1 + 5 * 103
    assert calls_of("apgd_t", "l1", 10) == 1 + 5 * 103
    assert calls_of("fab_t", "l1", 10) == 1 + 9 * 200


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_queries_reach_square(norm: Norm) -> None:
    """The clean image, the first perturbation, and 5,000 squares."""
    assert calls_of("square", norm, 10) == 1 + 1 + 5000


@pytest.mark.slow
def test_the_queries_reach_square_in_linf() -> None:
    """As many as the authors' code shows, but those that leave the image as it is."""
    model, x, y = steadfast(10), torch.rand(1, 3, 8, 8, generator=seeded()), torch.zeros(1).long()
    theirs, lowest, best, shown = Seen(model), torch.inf, x, 2  # the clean image, and the first
    attack = SquareAttack(theirs, norm="Linf", n_queries=5000, eps=0.1, resc_schedule=False)
    attack.init_hyperparam(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attack.attack_single_run(x, y)
    for number, image in enumerate(theirs.images):
        shown += number > 0 and not torch.allclose(image, best, rtol=0, atol=1e-7)
        logits = model(image)[0]
        lead = (logits[0] - logits[1:].max()).item()
        if lead < lowest:
            lowest, best = lead, image
    assert 1000 < shown < 5000
    assert calls_of("square", "linf", 10) == shown


@pytest.mark.parametrize("part", AUTOATTACK_PARTS)
def test_each_part_breaks_something_and_stays_inside(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {norm: values._replace(steps=10, queries=200) for norm, values in STANDARD.items()}
    monkeypatch.setattr("worker.attacks.autoattack.STANDARD", few)
    network = bent_network().float()
    x, y = classified(bent_network(), 16)
    x, before = x.float(), torch.random.get_rng_state()
    for norm in NORMS:
        eps = 2 * EPS[norm]
        x_adv = autoattack_part(part, network, x, y, eps=eps, norm=norm, seed=0)
        assert (network(x_adv).argmax(dim=1) != y).any(), norm
        assert (size((x_adv - x).double(), norm) <= eps + 1e-6).all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.grad is None for p in network.parameters())


def test_each_part_sees_what_stands_and_any_may_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that break one image each, and return others out of the ball or not a number."""
    shown: list[list[float]] = []

    def part(name: str, model: object, x: Tensor, y: Tensor, **_: object) -> Tensor:
        shown.append(x[:, 0, 0, 0].tolist())
        changes = {"apgd_ce": 0.05, "apgd_t": 0.2, "fab_t": float("nan"), "square": 0.05}
        x_adv = x.clone()
        x_adv[0] += changes[name]
        return x_adv

    def model(x: Tensor) -> Tensor:
        """Wrong for what is off the grid of tenths, and for what is not a number."""
        on_grid = ((10 * x[:, 0, 0, 0]).frac() - 0.5).abs() > 0.4
        return torch.stack([on_grid, ~on_grid], dim=1).float()

    monkeypatch.setattr("worker.attacks.autoattack.autoattack_part", part)
    x = torch.tensor([0.0, 0.1, 0.25, 0.3]).view(4, 1, 1, 1).expand(4, 1, 2, 2).clone()
    x_adv = autoattack(model, x, torch.zeros(4).long(), eps=0.1, norm="linf", seed=0)
    grid = [0.0, 0.1, 0.3]
    assert shown == [pytest.approx(grid), *[pytest.approx(grid[1:])] * 3]
    torch.testing.assert_close(x_adv[:, 0, 0, 0], torch.tensor([0.05, 0.15, 0.25, 0.3]))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_works_with_few_classes(classes: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {norm: values._replace(queries=20) for norm, values in STANDARD.items()}
    monkeypatch.setattr("worker.attacks.autoattack.STANDARD", few)
    w = torch.randn(192, generator=seeded())
    x = torch.full((6, 3, 8, 8), 0.5)
    x += torch.linspace(-0.02, 0.02, 6).view(6, 1, 1, 1) * w.sign().view(3, 8, 8)

    def model(x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ w + 4
        return torch.stack([score, -score, -score - 1], dim=1)[:, :classes]

    dual = {"linf": w.abs().sum(), "l2": w.square().sum().sqrt(), "l1": w.abs().max()}[norm]
    distance = model(x)[:, 0] / dual  # up to the box, which is far
    eps = distance.median().item() * 1.1
    x_adv = autoattack(model, x, torch.zeros(6).long(), eps=eps, norm=norm, seed=0)
    broke = model(x_adv)[:, 0] < 0
    assert not broke[distance > eps].any()
    assert broke[distance < 0.9 * eps].all()
    assert 0 < broke.sum() < 6


@pytest.mark.slow
def test_breaks_what_the_authors_autoattack_breaks() -> None:
    network = bent_network().float()
    x, y = classified(bent_network(), 16)
    x = x.float()
    theirs = AutoAttack(network, norm="Linf", eps=EPS["linf"], seed=0)
    theirs.apgd_targeted.n_target_classes = theirs.fab.n_target_classes = 5
    with torch.random.fork_rng():
        expected, _ = theirs.run_standard_evaluation(x, y)
    x_adv = autoattack(network, x, y, eps=EPS["linf"], norm="linf", seed=0)
    broke, broke_by_theirs = (network(z).argmax(dim=1) != y for z in (x_adv, expected))
    assert broke.tolist() == broke_by_theirs.tolist()
    assert 0 < broke.sum() < 16


def test_refused_arguments() -> None:
    x, y = torch.rand(1, 3, 8, 8, generator=seeded()), torch.zeros(1).long()
    with pytest.raises(ValueError, match="part is one of apgd_ce, apgd_t, fab_t, square"):
        autoattack_part("pgd", steadfast(3), x, y, eps=0.1, norm="linf", seed=0)
    with pytest.raises(ValueError, match="norm is one of"):
        autoattack(steadfast(3), x, y, eps=0.1, norm="l0", seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="eps must be finite"):
        autoattack(steadfast(3), x, y, eps=-1.0, norm="linf", seed=0)
