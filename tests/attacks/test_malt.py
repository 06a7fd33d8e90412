"""MALT: which classes it aims at, by hand, and that it breaks what these classes allow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from worker.attacks.apgd import apgd_targeted, most_likely_wrong
from worker.attacks.malt import linear_distances, malt
from worker.attacks.norms import Norm, length

DUAL: dict[Norm, float] = {"linf": 1, "l2": 2, "l1": math.inf}


class ByHand(nn.Module):
    """Four classes of one grey pixel each way: z = (0, 3 p - 1.8, p - 0.55, 1.2 q - 0.92).

    At p = q = 0.5 the true class 0 leads by 0.3, 0.05 and 0.32; the slopes are 3, 1 and 1.2. So
    class 2 is 0.05 away, class 1 0.1, and class 3, nearly as likely as class 1, 0.267. A fifth
    class, the most likely of the wrong ones, can never be reached: no pixel moves it.
    """

    def forward(self, x: Tensor) -> Tensor:
        p, q = x[:, 0, 0, 0], x[:, 0, 0, 1]
        flat = torch.full_like(p, -0.01)
        return torch.stack([0 * p, 3 * p - 1.8, p - 0.55, 1.2 * q - 0.92, flat], dim=1)


def grey() -> tuple[Tensor, Tensor]:
    return torch.full((2, 1, 1, 2), 0.5, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("norm", list(DUAL))
def test_the_distances_by_hand(norm: Norm) -> None:
    x, y = grey()
    found = linear_distances(ByHand(), x, y, norm=norm, candidates=100)
    assert found.classes[0].tolist() == [4, 2, 1, 3]  # the most likely wrong class first
    expected = [math.inf, 0.05, 0.1, 0.32 / 1.2]  # in every norm: a class hangs on one pixel
    assert found.distances[0].tolist() == pytest.approx(expected)
    assert torch.equal(found.distances[0], found.distances[1])


@pytest.mark.parametrize("norm", list(DUAL))
def test_the_distances_of_a_linear_model_are_those_to_its_boundaries(norm: Norm) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double()
    x = torch.rand(6, 3, 2, 2, dtype=torch.float64)
    logits, y = network(x).detach(), network(x).argmax(dim=1)
    found = linear_distances(network, x, y, norm=norm, candidates=3)
    assert found.distances.shape == (6, 3)
    weight = network[1].weight.detach()
    for n in range(6):
        for distance, c in zip(found.distances[n], found.classes[n], strict=True):
            gap = logits[n, y[n]] - logits[n, c]
            slope = torch.linalg.vector_norm(weight[y[n]] - weight[c], DUAL[norm])
            assert distance.item() == pytest.approx((gap / slope).item())


def test_the_nearest_class_is_tried_first() -> None:
    """With one target, APGD-T takes the likeliest wrong class, and MALT the one in reach."""
    x, y = grey()
    assert most_likely_wrong(ByHand()(x), y, 1).tolist() == [[4], [4]]
    found = malt(ByHand(), x, y, eps=0.07, steps=10, norm="linf", targets=1, seed=0)
    assert ByHand()(found).argmax(dim=1).tolist() == [2, 2]


@pytest.mark.parametrize("norm", list(DUAL))
def test_all_classes_in_another_order_break_as_much_as_apgd_t(norm: Norm) -> None:
    network = bent_network()
    x, y = classified(network)
    eps = {"linf": 0.03, "l2": 0.35, "l1": 2.0}[norm]
    given: dict[str, Any] = {"eps": eps, "steps": 20, "norm": norm, "targets": 9, "seed": 0}
    x_adv, other = malt(network, x, y, **given), apgd_targeted(network, x, y, **given)
    broken = network(x_adv).argmax(dim=1) != y
    theirs = network(other).argmax(dim=1) != y
    assert broken.sum() >= 0.9 * theirs.sum()  # starts differ, as they are drawn run by run
    assert 0 < broken.sum() < len(x)
    assert (length(x_adv - x, norm) <= eps * (1 + 1e-9)).all()
    assert torch.equal(x_adv[~broken], x[~broken])


def test_images_that_are_wrong_already_stay_as_they_are() -> None:
    network = bent_network()
    x, y = classified(network)
    seen, wrong = Seen(network), (y + 1) % 6
    found = malt(seen, x, wrong, eps=0.1, steps=9, norm="linf", targets=9, seed=0)
    assert torch.equal(found, x)
    assert len(seen.images) == 1  # one pass, whose gradients give every class its score


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": 0}, "targets must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"norm": "l0"}, "norm is one of"),
        ({"eps": -1.0}, "eps must be finite and not negative"),
    ],
)
def test_refused_arguments(changed: dict[str, Any], message: str) -> None:
    x, y = grey()
    given: dict[str, Any] = {"eps": 0.1, "steps": 2, "norm": "linf", "targets": 2, "seed": 0}
    with pytest.raises(ValueError, match=message):
        malt(ByHand(), x, y, **(given | changed))
