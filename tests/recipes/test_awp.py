"""Adversarial weight perturbation: by hand on one layer, and as the authors' proxy does it."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.plugins.recording import Recording, recording
from tests.recipes.test_precision import networks
from tests.recipes.test_recipes import Waits
from tests.recipes.toy_batch import N, parameters, toy_batch
from worker.models import Outputs
from worker.recipes import RECIPES, Batch, Step, perturb

ROBUST = [name for name in RECIPES if name != "clean"]


class Line(Recording):
    """One weight matrix w of two numbers and a bias; the logit is w . x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.head = nn.Linear(2, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[3.0, 4.0]]))
            self.head.bias.fill_(1.0)

    def outputs(self, x: Tensor) -> Outputs:
        return Outputs(x, x, self.head(x))


def test_by_hand_on_one_layer() -> None:
    """w = (3, 4) of norm 5, b = 1, L = (w . x + b)^2 / 2 at x = (0, 2): L = 81 / 2 and
    dL/dw = 9 x = (0, 18). With gamma 0.1, v = 0.1 * 5 * (0, 1) = (0, 0.5); at w + v the output is
    2 * 4.5 + 1 = 10, the gradient (0, 20), and a step of 0.01 from there leads to (3, 4.3);
    without v to (3, 3.8). The bias does not move up the loss: its step is -0.01 * 10.
    """
    line, x = Line(), torch.tensor([[0.0, 2.0]])

    def objective() -> Step:
        return Step(line.outputs(x).logits.square().sum() / 2, {}, None, None)

    restore = perturb(line, objective, gamma=0.1)
    assert line.head.weight.tolist() == [[3.0, 4.5]]
    assert line.head.bias.tolist() == [1.0]
    optimizer = torch.optim.SGD(line.parameters(), lr=0.01)
    loss = objective().loss
    assert loss.item() == 50.0
    torch.autograd.backward(loss)
    optimizer.step()
    restore()
    torch.testing.assert_close(line.head.weight.data, torch.tensor([[3.0, 3.8]]))
    torch.testing.assert_close(line.head.bias.data, torch.tensor([0.9]))


def authors_difference(model: nn.Module, proxy: nn.Module) -> dict[str, Tensor]:
    """`diff_in_weights` of github.com/csdongxian/AWP, written down again."""
    found = {}
    for (name, old), new in zip(
        model.state_dict().items(), proxy.state_dict().values(), strict=True
    ):
        if len(old.size()) > 1 and "weight" in name:
            difference = new - old
            found[name] = old.norm() / (difference.norm() + 1e-20) * difference
    return found


def authors_step(student: Recording, recipe: str, gamma: float, **sgd: float) -> Recording:
    """`calc_awp`, `perturb`, a step of SGD and `restore`, with a proxy of its own."""
    given = toy_batch()
    given.student = student
    objective = given.objective(recipe)
    before = copy.deepcopy(student)
    proxy = copy.deepcopy(student)
    optimizer_of_proxy = torch.optim.SGD(proxy.parameters(), lr=0.01)
    through = toy_batch()
    through.student = proxy
    torch.autograd.backward(-through.objective(recipe)().loss)
    optimizer_of_proxy.step()
    difference = authors_difference(before, proxy)
    optimizer = torch.optim.SGD(student.parameters(), **sgd)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if name in difference:
                weight.add_(gamma * difference[name])
    optimizer.zero_grad()
    torch.autograd.backward(objective().loss)
    optimizer.step()
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if name in difference:
                weight.add_(-gamma * difference[name])
    return student


@pytest.mark.parametrize("recipe", ROBUST)
def test_a_step_is_that_of_the_authors(recipe: str) -> None:
    """Weights, and the batch norms' statistics: those of the pass at w + v alone."""
    sgd = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    expected = authors_step(recording(0), recipe, 0.05, **sgd)
    given = toy_batch()
    optimizer = torch.optim.SGD(given.student.parameters(), **sgd)
    objective = given.objective(recipe)
    restore = perturb(given.student, objective, gamma=0.05)
    torch.autograd.backward(objective().loss)
    optimizer.step()
    restore()
    torch.testing.assert_close(
        given.student.state_dict(), expected.state_dict(), rtol=1e-9, atol=1e-11
    )
    batches = [b for name, b in given.student.named_buffers() if "num_batches" in name]
    assert [int(b) for b in batches] == [2, 2], "one of the toy_batch, one of the step"


@pytest.mark.parametrize("recipe", ROBUST)
def test_it_raises_the_loss_by_moving_every_layer_by_gamma_of_its_norm(recipe: str) -> None:
    given = toy_batch()
    objective, before = given.objective(recipe), copy.deepcopy(given.student)
    plain = objective().loss.item()
    restore = perturb(given.student, objective, gamma=0.01)
    assert objective().loss.item() > plain
    pairs = zip(given.student.named_parameters(), before.parameters(), strict=True)
    for (name, now), then in pairs:
        moved = (now - then).norm().item()
        by = 0.01 * then.norm().item() if then.dim() > 1 else 0.0
        assert math.isclose(moved, by, rel_tol=1e-6, abs_tol=1e-12), name
    restore()
    for now, then in zip(given.student.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=1e-12)


def test_a_layer_without_gradient_stays() -> None:
    line, unused = Line(), nn.Linear(2, 2)
    line.add_module("spare", unused)
    before = unused.weight.clone()
    x = torch.ones(N, 2)

    def objective() -> Step:
        return Step(line.outputs(x).logits.sum(), {}, None, None)

    perturb(line, objective, gamma=0.1)
    assert torch.equal(unused.weight, before)


def test_nothing_waits_for_the_device() -> None:
    given = toy_batch()
    with Waits() as waits:
        objective = given.objective("agkd_bml")
        restore = perturb(given.student, objective, gamma=0.01)
        torch.autograd.backward(objective().loss)
        restore()
    assert waits.names == []


def test_in_bfloat16_it_moves_nearly_the_same_way() -> None:
    """The network's body in bfloat16; weights, gradients and what moves them in float32."""
    moved, same = [], parameters(eps=0.0)  # the attacks of both are not the same, bit for bit
    for dtype in (None, torch.bfloat16):
        pair = networks(dtype)
        generator = torch.Generator().manual_seed(1)
        x = torch.rand(4, 3, 32, 32, generator=generator)
        batch = Batch(x=x, y=torch.arange(4), draw_prime=lambda _, x=x: x, generator=generator)
        before = [weight.clone() for weight in pair.student.parameters()]
        perturb(pair.student, RECIPES["agkd_bml"](pair, batch, same), gamma=0.05)
        pairs = zip(pair.student.parameters(), before, strict=True)
        moved.append(torch.cat([(now - then).flatten() for now, then in pairs]))
        assert moved[-1].dtype == torch.float32
    exact, rough = moved
    assert not torch.equal(exact, rough)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.9


def test_examples_are_made_once() -> None:
    """One attack, then two passes in train mode on the same images: at w, and at w + v."""
    given = toy_batch()
    objective = given.objective("pgd_at")
    perturb(given.student, objective, gamma=0.01)
    objective()
    seen: list[Any] = [x for training, _, x in given.student.calls if training]
    assert len(seen) == 2
    assert torch.equal(*seen)
