"""HopSkipJump: its queries, its limits, and how near it comes to a distance that is known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import foolbox
import pytest
import torch
from torch import Tensor, nn

from tests.attacks.classifiers import Seen, bent_network, classified
from tests.attacks.oracle import seeded, size
from worker.attacks.hop_skip_jump import hop_skip_jump
from worker.attacks.norms import Norm

NORMS: list[Norm] = ["linf", "l2"]


def attacked(model: Any, x: Tensor, y: Tensor, **how: Any) -> Tensor:
    """What it leaves of the images."""
    return hop_skip_jump(model, x, y, **how).x_adv


class Plane(nn.Module):
    """Two classes on both sides of a plane; it shows nothing but the class."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.randn(48, generator=seeded(), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        score = (x - 0.5).flatten(1) @ self.w + 1
        return torch.stack([score, -score], dim=1).sign()

    def distance(self, x: Tensor, norm: Norm) -> Tensor:
        dual = self.w.abs().sum() if norm == "linf" else self.w.square().sum().sqrt()
        return ((x - 0.5).flatten(1) @ self.w + 1) / dual


def grey(n: int) -> Tensor:
    """Images of class 0 of the plane, far from black and white."""
    x = 0.5 + 0.02 * torch.randn(n, 3, 4, 4, generator=seeded(1), dtype=torch.float64)
    return x.clamp(0.4, 0.6)


@pytest.mark.parametrize("norm", NORMS)
def test_comes_near_the_distance_of_a_plane_and_never_nearer(norm: Norm) -> None:
    model, x, y = Plane(), grey(6), torch.zeros(6).long()
    assert (model(x)[:, 0] > 0).all()
    distance = model.distance(x, norm)
    for factor, broken in ((0.99, False), (1.3, True)):
        eps = factor * distance.min().item() if not broken else factor * distance.max().item()
        found = attacked(model, x, y, eps=eps, norm=norm, queries=3000, seed=0)
        assert ((model(found)[:, 0] < 0) == broken).all()
        assert (size(found - x, norm) <= eps).all()
        assert torch.equal(found, x) != broken


def asked_for_each(model: nn.Module, x: Tensor, y: Tensor, **arguments: Any) -> list[int]:
    """Queries for each image beside the clean one: what a batch asks for more with it at its end.

    Holds where all images are of one class, so that none is the start of another.
    """
    totals = [0]
    for n in range(1, len(x) + 1):
        seen = Seen(model)
        attacked(seen, x[:n], y[:n], **arguments)
        assert max(len(shown) for shown in seen.images) == len(seen.images[0]) == n
        totals.append(sum(len(shown) for shown in seen.images[1:]))
    return [after - before for before, after in pairwise(totals)]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("queries", [1, 7, 150])
def test_asks_for_each_image_as_often_as_allowed(norm: Norm, queries: int) -> None:
    model, x, y = Plane(), grey(5), torch.zeros(5).long()
    y[1] = 1  # wrong before, so never asked about
    arguments: dict[str, Any] = {"eps": 0.0, "norm": norm, "queries": queries, "seed": 0}
    assert asked_for_each(model, x, y, **arguments) == [queries, 0, *[queries] * 3]
    assert torch.equal(attacked(model, x, y, **arguments), x)


@pytest.mark.parametrize("norm", NORMS)
def test_asks_no_more_about_an_image_that_broke(norm: Norm) -> None:
    model, x, y = Plane(), grey(6), torch.zeros(6).long()
    eps = 1.1 * model.distance(x, norm).median().item()
    arguments: dict[str, Any] = {"eps": eps, "norm": norm, "queries": 900, "seed": 0}
    asked = torch.tensor(asked_for_each(model, x, y, **arguments))
    broke = model(attacked(model, x, y, **arguments))[:, 0] < 0
    assert broke.any()
    assert not broke.all()
    assert (asked[broke] < 900).all()
    assert (asked[~broke] == 900).all()


class NearestSeen(nn.Module):
    """A model that keeps how near to each image of a batch it erred."""

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor, norm: Norm) -> None:
        super().__init__()
        self.model, self.x, self.y, self.norm = model, x, y, norm
        self.distance = torch.full((len(x),), torch.inf, dtype=x.dtype)

    def forward(self, seen: Tensor) -> Tensor:
        logits: Tensor = self.model(seen)
        erred = size(seen - self.x, self.norm).where(logits.argmax(dim=1) != self.y, torch.inf)
        self.distance = self.distance.minimum(erred)
        return logits


class OfFoolbox(foolbox.attacks.HopSkipJumpAttack):
    """Foolbox divides by the length of the whole batch's estimate; here each image by its own."""

    def approximate_gradients(self, *arguments: Any) -> Any:
        estimate = super().approximate_gradients(*arguments)
        return estimate / estimate.square().sum(axis=(1, 2, 3), keepdims=True).sqrt()


@pytest.mark.parametrize("norm", NORMS)
def test_comes_as_near_as_foolbox(norm: Norm) -> None:
    """With what four of its steps ask, the median distance is at most 15 % above foolbox's.

    From random starts. In a batch foolbox lets images wait for each other, so what it asks about
    one is counted as if that were alone: estimates, bisections, and a few for start and jumps.
    """
    network, steps, seeds = bent_network(lead=0.3), 4, (0, 1, 2)
    x, y = classified(network, 200)
    x, y = x[y == 0][:50], y[y == 0][:50]
    bisections = math.ceil((1.5 if norm == "l2" else 2) * math.log2(192))
    estimates = sum(int(100 * math.sqrt(t)) for t in range(1, steps + 1))
    queries = estimates + (steps + 1) * bisections + 30
    distances = []
    for seed in seeds:
        watched = NearestSeen(network, x, y, norm)
        wrapped = foolbox.PyTorchModel(watched.eval(), bounds=(0, 1), device="cpu")
        torch.manual_seed(seed)
        with torch.no_grad():
            attack = OfFoolbox(steps=steps, constraint=norm)
            attack.run(wrapped, x, foolbox.criteria.Misclassification(y))
        distances.append(watched.distance)
    eps = 1.15 * torch.cat(distances).median().item()
    found = [
        attacked(network, x, y, eps=eps, norm=norm, queries=queries, seed=seed) for seed in seeds
    ]
    broken = torch.stack([network(one).argmax(dim=1) != y for one in found])
    assert broken.double().mean() > 0.5


def test_says_after_how_many_queries_an_image_broke() -> None:
    """So many are enough, and one fewer is not."""
    network = bent_network(lead=0.3)
    x, y = classified(network, 6)
    network = network.float()
    y[0] = (y[0] + 1) % 3  # wrong before
    how: dict[str, Any] = {"eps": 0.02, "norm": "linf", "seed": 0}
    found = hop_skip_jump(network, x.float(), y, queries=600, **how).first_break
    assert found[0] == 0
    broken = found[(found > 0) & (found <= 600)].tolist()
    assert len(broken) > 1
    for queries in (min(broken), max(broken)):
        again = hop_skip_jump(network, x.float(), y, queries=queries, **how).first_break
        assert torch.equal(again, found.clamp(max=queries + 1))
    fewer = hop_skip_jump(network, x.float(), y, queries=max(broken) - 1, **how).first_break
    assert (fewer[found == max(broken)] == max(broken)).all()  # none of them broke it


@pytest.mark.parametrize("norm", NORMS)
def test_keeps_only_what_is_inside_and_breaks_more_with_more_queries(norm: Norm) -> None:
    network = bent_network(lead=0.3)
    x, y = classified(network, 12)
    network, x, eps = network.float(), x.float(), 0.02 if norm == "linf" else 0.2
    broken = []
    for queries in (20, 600):
        found = attacked(network, x, y, eps=eps, norm=norm, queries=queries, seed=0)
        broke = network(found).argmax(dim=1) != y
        assert (size((found - x).double(), norm) <= eps + 1e-6).all()
        assert found.min() >= 0
        assert found.max() <= 1
        assert torch.equal(found[~broke], x[~broke])
        broken.append(broke)
    assert (broken[0] <= broken[1]).all()  # the same run, further on
    assert broken[0].sum() < broken[1].sum()


def test_stops_asking_once_all_are_broken() -> None:
    model, x, y = Plane(), grey(4), torch.zeros(4).long()
    seen = Seen(model)
    found = attacked(seen, x, y, eps=0.5, norm="linf", queries=5000, seed=0)
    assert (model(found)[:, 0] < 0).all()
    assert len(seen.images) < 200


def dark_and_bright(x: Tensor) -> Tensor:
    """Class 1 for images brighter than 0.9, which random ones never are."""
    score = 20 * (x.mean(dim=(1, 2, 3)) - 0.9)
    return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize("norm", NORMS)
def test_starts_at_an_image_of_another_class(norm: Norm) -> None:
    x = torch.cat([torch.full((2, 3, 4, 4), 0.85), torch.full((1, 3, 4, 4), 0.99)])
    y = torch.tensor([0, 0, 1])
    eps = 0.1 if norm == "linf" else 0.1 * 48**0.5
    found = attacked(dark_and_bright, x, y, eps=eps, norm=norm, queries=500, seed=0)
    assert dark_and_bright(found).argmax(dim=1).tolist() == [1, 1, 0]
    # Alone they have no start, and withstand.
    alone = attacked(dark_and_bright, x[:2], y[:2], eps=eps, norm=norm, queries=500, seed=0)
    assert torch.equal(alone, x[:2])


def test_a_model_that_changes_its_mind_ends_the_search() -> None:
    generator = seeded()

    def model(x: Tensor) -> Tensor:
        return torch.rand(len(x), 3, generator=generator)

    x = torch.rand(4, 3, 4, 4, generator=seeded(1))
    y = model(x).argmax(dim=1)
    found = attacked(model, x, y, eps=0.001, norm="linf", queries=300, seed=0)
    assert (size(found - x, "linf") <= 0.001 + 1e-6).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, AssertionError])
@pytest.mark.parametrize("after", [0, 3, 60])
def test_an_error_of_the_model_is_no_end_of_the_search(
    error: type[BaseException], after: int
) -> None:
    plane, calls = Plane(), 0

    def model(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error("from the model")
        logits: Tensor = plane(x)
        return logits

    with pytest.raises(error, match="from the model"):
        attacked(model, grey(2), torch.zeros(2).long(), eps=0.0, norm="l2", queries=900, seed=0)


@pytest.mark.parametrize("norm", NORMS)
def test_depends_on_the_seed_alone_and_leaves_the_global_one(norm: Norm) -> None:
    model, x, y = Plane(), grey(3), torch.zeros(3).long()
    before = torch.random.get_rng_state()

    def attack(seed: int) -> Tensor:
        return attacked(model, x, y, eps=1.0, norm=norm, queries=40, seed=seed)

    found = attack(0)
    assert torch.equal(found, attack(0))
    first_two = attacked(model, x[:2], y[:2], eps=1.0, norm=norm, queries=40, seed=0)
    assert torch.equal(first_two, found[:2])  # whatever else is in the batch
    assert not torch.equal(attack(0), attack(1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps must be finite and not negative"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"norm": "l1"}, "norm is one of linf, l2"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"eps": 0.1, "norm": "linf", "queries": 3, "seed": 0}
    with pytest.raises(ValueError, match=message):
        attacked(Plane(), grey(2), torch.zeros(2).long(), **(valid | arguments))
