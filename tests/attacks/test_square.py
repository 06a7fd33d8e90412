"""Square Attack: what the authors' code finds, after as many queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from tests.attacks.oracle import seeded, size
from tests.models.test_frozen import network as trained_network
from worker.attacks.norms import Norm
from worker.attacks.square import square
from worker.models import Frozen, frozen

EPS: dict[Norm, float] = {"linf": 0.06, "l2": 0.8, "l1": 6.0}


@pytest.fixture
def network() -> nn.Module:
    return bent_network().float()


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    x, y = classified(bent_network(), 12)
    return x.float(), y


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_equals_the_authors_attack_and_counts_its_queries(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    x, y = images
    attack = SquareAttack(
        network, norm=norm.capitalize(), n_queries=60, eps=EPS[norm], resc_schedule=False
    )
    attack.init_hyperparam(x)
    torch.manual_seed(7)
    calls, expected = attack.attack_single_run(x, y)
    broke = network(expected).argmax(dim=1) != y
    first_break = torch.where(broke, (calls - 1).clamp(min=1), 61)
    found = square(network, x, y, eps=EPS[norm], norm=norm, queries=60, seed=7)
    torch.testing.assert_close(found.x_adv, expected, rtol=0, atol=1e-6)
    assert found.first_break.tolist() == first_break.tolist()
    assert len(set(first_break.tolist())) >= 3
    assert not broke.all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_image_breaks_at_the_query_named_and_not_before(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    """The same run stopped earlier: one run answers for every smaller number of queries."""
    x, y = images
    full = square(network, x, y, eps=EPS[norm], norm=norm, queries=40, seed=1)
    assert (size((full.x_adv - x).double(), norm) <= EPS[norm] + 1e-6).all()
    assert full.x_adv.min() >= 0
    assert full.x_adv.max() <= 1
    for queries in (1, 5, 20):
        short = square(network, x, y, eps=EPS[norm], norm=norm, queries=queries, seed=1)
        broke = network(short.x_adv).argmax(dim=1) != y
        assert broke.tolist() == (full.first_break <= queries).tolist()


def test_broken_and_wrong_images_are_shown_no_more(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    y = torch.where(torch.arange(len(y)) < 3, (y + 1) % 6, y)
    seen = Seen(network)
    found = square(seen, x, y, eps=EPS["linf"], norm="linf", queries=30, seed=0)
    assert found.first_break[:3].tolist() == [0, 0, 0]
    assert torch.equal(found.x_adv[:3], x[:3])
    left = [int((found.first_break > query).sum()) for query in range(30)]
    sizes = [len(shown) for shown in seen.images]
    # All clean images, the first perturbation for those that stand, then 30 squares, shown where
    # they change anything. What the first perturbation breaks counts as broken by query 1.
    assert sizes[:2] == [12, 9]
    assert len(sizes) == 2 + 30
    assert all(size <= standing for size, standing in zip(sizes[3:], left[1:], strict=True))
    assert sum(sizes[3:]) > 0.8 * sum(left[1:])
    assert left[1] <= sizes[2] <= 9


def test_a_network_that_remembers_finds_the_same() -> None:
    """Only windows of it are computed, and the squares are those of the network itself."""
    model = trained_network("wrn-10-1").double().eval().requires_grad_(False)
    x = torch.rand(10, 3, 16, 16, generator=seeded(), dtype=torch.float64)
    model.head.bias -= model(x).mean(dim=0)  # to each class its share
    y = model(x).argmax(dim=1)
    looked: list[Tensor] = []
    call = frozen(model, dtype=None)
    assert isinstance(call, Frozen)
    watched = replace(call, passing=looked.append)
    whole, found = (
        square(each, x, y, eps=0.06, norm="linf", queries=150, seed=0) for each in (model, watched)
    )
    torch.testing.assert_close(found.x_adv, whole.x_adv, rtol=0, atol=0)
    assert found.first_break.tolist() == whole.first_break.tolist()
    assert 0 < (found.first_break <= 150).sum() < 10
    assert {seen.shape[2] for seen in looked} == {16, 14, 10, 7}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_depends_on_the_seed_alone_and_leaves_the_global_one(
    network: nn.Module, images: tuple[Tensor, Tensor], norm: Norm
) -> None:
    x, y = images
    before = torch.random.get_rng_state()

    def attack(seed: int) -> Tensor:
        return square(network, x, y, eps=EPS[norm], norm=norm, queries=3, seed=seed).x_adv

    assert torch.equal(attack(0), attack(0))
    assert not torch.equal(attack(0), attack(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_works_in_double_precision_and_in_every_layout(images: tuple[Tensor, Tensor]) -> None:
    x, y = images
    x = x.double().contiguous(memory_format=torch.channels_last)
    found = square(bent_network(), x, y, eps=0.06, norm="linf", queries=9, seed=0)
    again = square(bent_network(), x.contiguous(), y, eps=0.06, norm="linf", queries=9, seed=0)
    assert found.x_adv.dtype == torch.float64
    assert found.first_break.tolist() == again.first_break.tolist()


def test_a_model_without_preference_is_not_broken() -> None:
    """Equal logits: the authors' attack gives up, and shows an empty batch."""
    x = torch.rand(2, 3, 8, 8, generator=seeded())
    found = square(
        lambda x: torch.zeros(len(x), 3), x, torch.zeros(2).long(), eps=0.1, norm="linf",
        queries=5, seed=0,
    )  # fmt: skip
    assert found.first_break.tolist() == [6, 6]


def test_a_cancelled_model_ends_the_attack(
    network: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    calls, before = 0, torch.random.get_rng_state()

    def model(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise KeyboardInterrupt
        logits: Tensor = network(x)
        return logits

    with pytest.raises(KeyboardInterrupt):
        square(model, x, y, eps=0.01, norm="linf", queries=30, seed=0)
    assert calls == 5
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps must be finite and not negative"),
        ({"eps": float("nan")}, "eps must be finite"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"norm": "l0"}, "norm is one of"),
    ],
)
def test_refused_arguments(
    network: nn.Module, images: tuple[Tensor, Tensor], arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"eps": 0.1, "norm": "linf", "queries": 3, "seed": 0}
    with pytest.raises(ValueError, match=message):
        square(network, *images, **(valid | arguments))


def test_small_images_are_refused_where_the_first_grid_does_not_fit() -> None:
    x, y = torch.rand(1, 3, 4, 9, generator=seeded()), torch.zeros(1).long()
    with pytest.raises(ValueError, match="5 pixels a side"):
        square(lambda x: x.mean((2, 3)), x, y, eps=0.1, norm="l2", queries=3, seed=0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_tie_is_no_reason_to_give_up_or_to_fail(norm: Norm, value: float) -> None:
    """The first of equal classes is the model's answer, as it is to the success_check."""
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def tied(seen: Tensor) -> Tensor:
        return torch.full((len(seen), 3), value)

    stands = square(tied, x, torch.zeros(2, dtype=torch.int64), eps=EPS[norm], norm=norm,
                    queries=12, seed=0)  # fmt: skip
    assert stands.first_break.tolist() == [13, 13]

    def tied_when_moved(seen: Tensor) -> Tensor:
        same = torch.stack([(one == x).flatten(1).all(dim=1).any() for one in seen])
        return torch.stack([torch.zeros(len(seen)), same.float()], dim=1)

    falls = square(tied_when_moved, x, torch.ones(2, dtype=torch.int64), eps=EPS[norm], norm=norm,
                   queries=12, seed=0)  # fmt: skip
    assert falls.first_break.tolist() == [1, 1]


def test_a_tie_on_the_way_does_not_end_the_attack() -> None:
    """A model of few levels is tied before it errs."""
    x = torch.full((1, 3, 8, 8), 0.5)

    def levels(seen: Tensor) -> Tensor:
        brightness = (8 * (seen.flatten(1).mean(dim=1) - 0.5).abs() / 0.1).floor()
        return torch.stack([1 - brightness, brightness - 1], dim=1)

    found = square(levels, x, torch.zeros(1, dtype=torch.int64), eps=0.1, norm="linf",
                   queries=400, seed=0)  # fmt: skip
    assert found.first_break.item() <= 400
    assert levels(found.x_adv).argmax(dim=1).item() == 1
