"""Every recipe's step against the same step written out plainly, and who is called how."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.plugins.recording import recording
from tests.recipes.plain import PLAIN
from tests.recipes.toy_batch import (
    NEEDS_TEACHER,
    PARAMETERS,
    SEED,
    TOWARDS_A_CLASS,
    N,
    parameters,
    toy_batch,
)
from worker.recipes import RECIPES, Batch, Networks

STEPS = PARAMETERS.attack.steps
ROBUST = [name for name in RECIPES if name != "clean"]
VARIANTS: dict[str, dict[str, Any]] = {
    "as the authors have it": {},
    "without MART": {"mart_beta": None},
    "without smoothing": {"smoothing": 0.0},
    "smoothed as torch never would": {"smoothing": 0.9},
    "without weights": {"agkd_weight": 0.0, "bml_weight": 0.0, "trades_beta": 0.0},
    "MART's margin alone": {"mart_beta": 0.0},
    "one step out of the ball": {"steps": 1, "step_size": 0.5},
    "towards the most confusing class": {"towards_confusing": True},
}


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("recipe", "variant"),
    [
        (recipe, variant)
        for recipe, variant in product(RECIPES, VARIANTS)
        if (recipe, variant) != ("mart", "without MART")  # refused, see below
    ],
)
def test_equals_the_step_written_out(recipe: str, variant: str) -> None:
    given, chosen, plain_student = toy_batch(), parameters(**VARIANTS[variant]), recording(0)
    found = given.take(recipe, chosen)
    expected = PLAIN[recipe](given, plain_student, chosen)
    assert list(found.terms) == list(expected.terms)
    near(found.loss, expected.loss)
    for name, value in expected.terms.items():
        near(found.terms[name], value)
    logits = (found.clean, expected.clean), (found.adversarial, expected.adversarial)
    for mine, plain in logits:
        assert (mine is None) == (plain is None)
        if mine is not None and plain is not None:
            near(mine.log_softmax(dim=1), plain)

    torch.autograd.backward(found.loss)
    torch.autograd.backward(expected.loss)
    for mine, plain in zip(given.student.parameters(), plain_student.parameters(), strict=True):
        assert mine.grad is not None
        assert plain.grad is not None
        near(mine.grad, plain.grad)
    # Batch norms saw one batch in train mode, and nothing of the attack.
    for mine, plain in zip(given.student.buffers(), plain_student.buffers(), strict=True):
        torch.testing.assert_close(mine, plain)


def test_every_term_takes_part() -> None:
    for recipe in RECIPES:
        terms = toy_batch().take(recipe).terms
        assert all(term.item() > 0 for term in terms.values()), recipe
    assert toy_batch().take("bml").terms["bml"].item() > 0.03 / 2  # the triplet, not its size alone


def test_a_weight_of_zero_leaves_the_rest() -> None:
    without = parameters(agkd_weight=0.0, bml_weight=0.0)
    for recipe, left_out in {"agkd": "agkd", "bml": "bml", "sml": "sml"}.items():
        step = toy_batch().take(recipe, without)
        near(step.loss, step.terms["classification"] + step.terms["mart"])
        assert step.terms[left_out].item() > 0  # still told
    step = toy_batch().take("agkd_bml", parameters(agkd_weight=0.0, bml_weight=0.0, mart_beta=None))
    near(step.loss, step.terms["classification"])
    assert set(step.terms) == {"classification", "agkd", "bml"}


ATTACKED = {
    "pgd_at": N,
    "trades": N,
    "rslad": N,
    "mart": N,
    "sml": N,
    "agkd": 2 * N,
    "bml": 2 * N,
    "agkd_bml": 2 * N,
}
LEARNED = {"clean": N, "pgd_at": N, "trades": 2 * N, "rslad": 2 * N, "mart": 2 * N}
TAUGHT = {"rslad": N, "agkd": 2 * N, "agkd_bml": 2 * N}
LOOKS_FIRST = ("trades", *TOWARDS_A_CLASS)
"""At the clean images: for what to leave, or for the most confusing class."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_modes_and_batches_of_each_stage(recipe: str) -> None:
    given = toy_batch()
    given.student.train()
    given.take(recipe)
    steps = 0 if recipe == "clean" else STEPS
    assert [(training, gradient, len(x)) for training, gradient, x in given.student.calls] == [
        *[(False, False, N)] * (recipe in LOOKS_FIRST),
        *[(False, True, ATTACKED.get(recipe, 0))] * steps,
        (True, True, LEARNED.get(recipe, 3 * N)),
    ]
    assert given.student.training
    taught = [(training, gradient, len(x)) for training, gradient, x in given.teacher.calls]
    assert taught == [(False, False, TAUGHT.get(recipe))] * (recipe in NEEDS_TEACHER)
    assert not given.teacher.training
    assert len(given.asked) == (recipe in TOWARDS_A_CLASS)


@pytest.mark.parametrize("recipe", ROBUST)
def test_examples_are_new_images_of_the_ball(recipe: str) -> None:
    given = toy_batch()
    given.x[:, :, :4] = given.x[:, :, :4].round()  # black and white: the ball is cut there
    given.take(recipe)
    last = given.student.calls[-1][2]
    sources = {"x_adv": given.x}
    if recipe in TOWARDS_A_CLASS:
        (y_prime,) = given.asked
        assert (y_prime != given.y).all()
        x_prime = given.pool[y_prime]
        sources = {"x_f": given.x, "x": given.x, "x_b": x_prime}
    elif recipe != "pgd_at":
        sources = {"x_adv": given.x, "x": given.x}
    for (name, source), seen in zip(sources.items(), last.split(N), strict=True):
        if name == "x" or (name, recipe) == ("x_b", "sml"):
            assert torch.equal(seen, source)
            continue
        moved = (seen - source).abs().flatten(1).amax(dim=1)
        assert (moved > 0.9 * PARAMETERS.attack.eps).all()
        assert (moved <= PARAMETERS.attack.eps + 1e-12).all()
        assert seen.min() >= 0
        assert seen.max() <= 1


@pytest.mark.parametrize("recipe", NEEDS_TEACHER)
def test_the_teacher_sees_the_clean_images(recipe: str) -> None:
    given = toy_batch()
    given.take(recipe)
    ((_, _, seen),) = given.teacher.calls
    prime = [given.pool[asked] for asked in given.asked]
    assert torch.equal(seen, torch.cat([given.x, *prime]))


def library_example(recipe: str) -> tuple[Tensor, Tensor]:
    """The recipe's adversarial images and those of torchattacks, from the same random start."""
    given = toy_batch()
    given.take(recipe)
    attack = {"eps": PARAMETERS.attack.eps, "alpha": PARAMETERS.attack.step_size, "steps": STEPS}
    of_predictions = recipe in ("trades", "rslad")
    kind = torchattacks.TPGD if of_predictions else torchattacks.PGD
    library: Any = kind(recording(0), **attack)
    if recipe == "rslad":
        student, answers = library.get_logits, [recording(1)(given.x)]
        # The teacher's answer in place of the first one, which the others are compared with.
        library.get_logits = lambda images: answers.pop() if answers else student(images)
    x, y = given.x, given.y
    if recipe in TOWARDS_A_CLASS:
        library.set_mode_targeted_by_label(quiet=True)
        (y_prime,) = given.asked
        x, y = x, y_prime
        if recipe != "sml":
            x, y = torch.cat([x, given.pool[y_prime]]), torch.cat([y_prime, given.y])
    torch.manual_seed(SEED)  # of the library's start
    expected = library(x) if of_predictions else library(x, y)
    seen = given.student.calls[-1][2]
    if len(expected) > N:
        return torch.cat([seen[:N], seen[2 * N :]]), expected
    return seen[:N], expected


@pytest.mark.parametrize("recipe", ROBUST)
def test_examples_are_those_of_torchattacks(recipe: str) -> None:
    found, expected = library_example(recipe)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", RECIPES)
def test_gradients_reach_the_student_only(recipe: str) -> None:
    given = toy_batch()
    step = given.take(recipe)
    assert all(p.grad is None for p in given.student.parameters())  # the attack left none
    torch.autograd.backward(step.loss)
    assert all(p.grad is not None and bool(p.grad.any()) for p in given.student.parameters())
    assert all(p.grad is None for p in given.teacher.parameters())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_generator_decides_the_step(recipe: str) -> None:
    first, second = toy_batch().take(recipe), toy_batch().take(recipe)
    assert torch.equal(first.loss, second.loss)


@pytest.mark.parametrize("recipe", RECIPES)
def test_images_keep_their_memory_format(recipe: str) -> None:
    given = toy_batch()
    given.student.to(memory_format=torch.channels_last)
    given.x, given.pool = (
        images.to(memory_format=torch.channels_last) for images in (given.x, given.pool)
    )
    plain = toy_batch().take(recipe)
    step = given.take(recipe)
    for _, _, x in given.student.calls + given.teacher.calls:
        assert x.is_contiguous(memory_format=torch.channels_last)
    near(step.loss, plain.loss)


def test_refuses_a_teacher_in_train_mode() -> None:
    with pytest.raises(ValueError, match="teacher must be in eval mode"):
        Networks(student=recording(0), teacher=recording(1).train(), dtype=None)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_has_to_be_there(recipe: str) -> None:
    given = toy_batch()
    batch = Batch(
        x=given.x,
        y=given.y,
        draw_prime=given.draw_prime,
        generator=torch.Generator().manual_seed(SEED),
    )
    alone = Networks(student=given.student, teacher=None, dtype=None)
    if recipe in NEEDS_TEACHER:
        with pytest.raises(ValueError, match="needs a teacher"):
            RECIPES[recipe](alone, batch, PARAMETERS)
    else:
        assert torch.equal(
            RECIPES[recipe](alone, batch, PARAMETERS)().loss, toy_batch().take(recipe).loss
        )
    if recipe == "mart":
        with pytest.raises(ValueError, match="mart_beta"):
            given.take(recipe, parameters(mart_beta=None))


@pytest.mark.parametrize("recipe", ROBUST)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"eps": -0.1}, "eps must be finite"),
        ({"step_size": float("nan")}, "step_size must be finite"),
    ],
)
def test_refuses_what_pgd_refuses(recipe: str, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy_batch().take(recipe, parameters(**wrong))


_WAITING = ("_local_scalar_dense", "nonzero", "masked_select")


class Waits(TorchDispatchMode):
    """Operations that make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if any(name in str(func) for name in _WAITING) or self._selects(func, args):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _selects(func: Any, args: Any) -> bool:
        """Whether a mask is an index: how many it selects, only the device knows."""
        if not str(func).startswith(("aten.index.", "aten.index_put")):
            return False
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])


def test_what_waits_is_noticed() -> None:
    x = torch.arange(4.0)
    for wait in (
        lambda: x.sum().item(),
        lambda: bool(x.sum() > 0),
        lambda: x[x > 1],
        lambda: x.masked_select(x > 1),
        lambda: (x > 1).nonzero(),
        lambda: x.clone().__setitem__(x > 1, x[:2]),
    ):
        with Waits() as waits:
            wait()
        assert len(waits.names) == 1
    with Waits() as waits:
        x[torch.tensor([0, 1])].where(x[:2] > 0, 0)
    assert waits.names == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_waits_for_the_device(recipe: str) -> None:
    given = toy_batch()
    with Waits() as waits:
        step = given.take(recipe)
        torch.autograd.backward(step.loss)
    assert waits.names == []
