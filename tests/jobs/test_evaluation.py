"""The evaluation job against plain attacks on every image, nothing reused, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.params import Attack, Goal, Method, Norm
from app.contracts.results import Accuracy, ModelFigures
from app.store import catalogue
from tests.jobs.evaluations import IMAGES, evaluate, small, untimed
from tests.jobs.measured import Measured, register
from tests.jobs.naive import Naive
from worker.evaluation.arguments import unit_noise


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _counts(curves: ModelFigures) -> tuple[list[int], list[int]]:
    """Correct images at each budget, and after each number of steps."""
    return (
        [point.accuracy.correct for point in curves.against_epsilon],
        [point.accuracy.correct for point in curves.against_steps],
    )


@pytest.mark.parametrize(
    ("attack", "changes"),
    [
        (Attack(steps=4), {}),
        (Attack(steps=4), {"epsilon": 0.7 / 255}),  # no point of the curve: nothing to share
        (Attack(steps=8), {}),  # longer than the counts of the steps curve
        (Attack(steps=3, restarts=3, relative_step=0.4), {"images": 30}),
        (Attack(steps=4, goal=Goal.MOST_CONFUSING), {}),
        (Attack(steps=2, goal=Goal.ALL_CLASSES), {"images": 20}),
        (Attack(steps=4, goal=Goal.CLASS, target_class="cat"), {"seed": 7}),
        (Attack(method=Method.FGSM), {}),
        (Attack(method=Method.FGSM, goal=Goal.MOST_CONFUSING), {}),
        (
            Attack(steps=4, norm=Norm.L2),
            {"epsilon": 0.1, "epsilons": (0.0, 0.05, 0.1, 0.15, 0.3)},
        ),
    ],
    ids=[
        "pgd", "unshared", "long", "restarts", "confusing", "all-classes", "class", "fgsm",
        "fgsm-confusing", "l2",
    ],
)  # fmt: skip
def test_reuse_changes_no_figure(
    measured: Measured, attack: Attack, changes: dict[str, Any]
) -> None:
    changes = {"models": (measured.teacher,), "images": 30} | changes
    params = small(measured, attack, **changes)
    (figures,) = evaluate(measured, params).models
    naive = Naive(measured, params, measured.model(measured.teacher))
    if attack.method is Method.FGSM:
        naive.attack = attack.model_copy(update={"steps": 1})
    assert figures.attacks[-1].broken == 0  # random points, which the plain attack does not draw
    at_epsilons, at_steps = _counts(figures)
    assert at_epsilons == naive.epsilon_curve()
    assert at_steps == naive.steps_curve()
    at_restarts = [point.accuracy.correct for point in figures.against_restarts]
    assert at_restarts == naive.restarts_curve()
    assert figures.clean.correct == int(naive.right.sum()) == at_epsilons[0]
    assert len(set(at_epsilons)) > 2  # the curve falls on the way
    alone = figures.attacks[0].alone
    assert alone is not None
    first = naive.first_wrong(params.epsilon, naive.attack.steps)
    assert alone.correct == int((first > naive.attack.steps).sum())


def test_every_point_says_n_and_its_interval(measured: Measured) -> None:
    params = small(measured)
    result = evaluate(measured, params)
    assert result.images == IMAGES
    assert result.params == params
    assert result.dataset.sha256 == measured.dataset.checksum
    assert [curves.model for curves in result.models] == list(params.models)
    for curves in result.models:
        row = catalogue.model(measured.lab.database, curves.model)
        assert row is not None
        assert (curves.name, curves.sha256) == (row.name, row.sha256)
        assert [point.x for point in curves.against_epsilon] == list(params.epsilons)
        assert [point.x for point in curves.against_steps] == list(params.step_counts)
        for point in (*curves.against_epsilon, *curves.against_steps):
            assert point.accuracy == Accuracy.of(point.accuracy.correct, IMAGES)
        for counts in _counts(curves):
            assert counts == sorted(counts, reverse=True)


def test_figures_depend_on_neither_company_nor_batch_size(measured: Measured) -> None:
    changes = {"minimal_epsilon": True, "attention": True, "images": 40}
    together = untimed(evaluate(measured, small(measured, **changes)))
    assert untimed(evaluate(measured, small(measured, **changes))) == together
    changes |= {"models": (measured.student,), "batch_size": 16}
    alone = untimed(evaluate(measured, small(measured, **changes)))
    (student,) = alone.models
    of_both = together.models[1]
    assert (alone.image_numbers, alone.labels) == (together.image_numbers, together.labels)
    for part in ("clean", "robust", "against_epsilon", "against_steps", "outcomes", "per_class"):
        assert getattr(student, part) == getattr(of_both, part)


def test_equal_models_get_equal_figures(measured: Measured) -> None:
    """The same images and the same starts, though one model comes after the other."""
    twin = register(
        measured.lab, measured.model(measured.teacher), measured.dataset.class_names, name="Twin"
    )
    first, _, second = evaluate(
        measured, small(measured, models=(measured.teacher, measured.student, twin))
    ).models
    assert _counts(first) == _counts(second)


def test_the_seed_chooses_the_images(measured: Measured) -> None:
    clean_only = {
        "models": (measured.teacher,), "epsilons": (0.0,), "step_counts": (), "images": 20,
    }  # fmt: skip
    first, same, other = (
        evaluate(measured, small(measured, seed=seed, **clean_only)).image_numbers
        for seed in (0, 0, 1)
    )
    assert first == same
    assert set(first) != set(other)


def test_images_of_the_target_class_are_left_out(measured: Measured) -> None:
    attack = Attack(method=Method.FGSM, goal=Goal.CLASS, target_class="cat")
    clean_only = {
        "models": (measured.teacher,), "epsilons": (0.0,), "step_counts": (), "images": 1000,
    }  # fmt: skip
    result = evaluate(measured, small(measured, attack, **clean_only))
    test = measured.dataset.split("test")
    others = test.labels != measured.dataset.class_names.index("cat")
    assert result.images == int(others.sum()) == 450
    x, y = test.to("cpu").batch(torch.from_numpy(np.flatnonzero(others)))
    for curves in result.models:
        right = int((measured.model(curves.model)(x).argmax(1) == y).sum())
        assert curves.clean == Accuracy.of(right, 450)


@pytest.mark.parametrize("norm", list(Norm))
def test_starts_belong_to_the_image(norm: Norm) -> None:
    like = torch.zeros(3, 3, 32, 32)
    noise = unit_noise(like, norm.value, 7, [4, 9, 1])
    assert torch.equal(noise[1:2], unit_noise(like[:1], norm.value, 7, [9]))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, unit_noise(like, norm.value, 8, [4, 9, 1]))
    again = unit_noise(like, norm.value, 7, [4, 9, 1], restart=1)
    assert not torch.equal(noise, again)
    assert torch.equal(again[2:], unit_noise(like[:1], norm.value, 7, [1], restart=1))
    flat = noise.flatten(1)
    if norm is Norm.LINF:
        assert flat.abs().max() <= 1
        assert flat.mean().abs() < 0.03  # uniform in [-1, 1]: standard error 0.006
        assert abs(flat.var().item() - 1 / 3) < 0.02
    else:
        lengths = torch.linalg.vector_norm(flat, 2 if norm is Norm.L2 else 1, dim=1)
        assert (lengths <= 1 + 1e-6).all()
        assert (lengths > 0.99).all()  # the ball's volume lies at its surface
