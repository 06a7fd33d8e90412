"""Orders of classes found by measuring: what is said, and when nothing is."""

import pytest
import torch

from worker.jobs.outputs import better_order

NAMES = ("airplane", "Automobile", "bird 2", "bird 10")


def answers(classes: int, n: int, right: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels, and guesses of which a share is right and the rest are at random."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    guesses = torch.randint(classes, (n,), generator=generator)
    known = torch.rand(n, generator=generator) < right
    return torch.where(known, labels, guesses), labels


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (sorted(NAMES), "the classes sorted as bytes are, capitals first"),
        (["airplane", "Automobile", "bird 10", "bird 2"], "in the order that fits best"),
    ],
)
def test_an_order_is_found_and_named(order: list[str], said: str) -> None:
    """The head's outputs stand for `order`; the dataset has its classes as in `NAMES`."""
    guesses, labels = answers(4, 400, 1.0)
    outputs = torch.tensor([order.index(name) for name in NAMES])[guesses]
    better = better_order(outputs, labels, NAMES)
    assert better is not None
    assert list(better.classes) == order
    assert said in better.said
    assert "100.0 % would be right" in better.said
    assert better_order(guesses, labels, NAMES) is None


CIFAR = ("airplane", "Automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize("names", [CIFAR, tuple(f"class {k}" for k in range(100))])
@pytest.mark.parametrize("right", [0.3, 0.45])
def test_a_weak_model_in_a_sorted_order_is_found(names: tuple[str, ...], right: float) -> None:
    guesses, labels = answers(len(names), 1000, right)
    order = sorted(names)
    outputs = torch.tensor([order.index(name) for name in names])[guesses]
    better = better_order(outputs, labels, names)
    assert better is not None
    assert list(better.classes) == order
    assert "sorted as bytes are" in better.said
    assert better_order(guesses, labels, names) is None


def test_a_network_that_always_says_the_same_has_no_order() -> None:
    """Output 0 would be right more often as the class that most images are of."""
    labels = torch.tensor([0] * 50 + [1] * 150)
    assert better_order(torch.zeros(200, dtype=torch.int64), labels, CIFAR[:2]) is None


@pytest.mark.parametrize(("classes", "n"), [(2, 200), (10, 500), (10, 1000), (100, 1000)])
@pytest.mark.parametrize("right", [0.0, 0.5])
def test_luck_among_many_orders_is_none(classes: int, n: int, right: float) -> None:
    names = [f"class {k}" for k in range(classes)]
    for seed in range(5):
        assert better_order(*answers(classes, n, right, seed), names) is None


def test_two_classes_the_wrong_way_round_are_found() -> None:
    guesses, labels = answers(2, 200, 0.8)
    better = better_order(1 - guesses, labels, ("no", "yes"))
    assert better is not None
    assert better.classes == ("yes", "no")
