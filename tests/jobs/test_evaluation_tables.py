"""Every table of an evaluation follows from what is told of each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.params import Attack, Method, Norm
from app.contracts.results import Accuracy, Light
from app.store import catalogue
from tests.jobs.evaluations import IMAGES, evaluate, small, untimed
from tests.jobs.measured import Measured, register
from worker import registry
from worker.data.corruptions import CORRUPTIONS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_rows_of_the_table_tell_one_story(measured: Measured) -> None:
    """Every number of a row follows from what is told of each image."""
    further = (Method.NOISE, Method.SQUARE, Method.FEATURE, Method.MI_FGSM, Method.CW,
               Method.TRANSFER)  # fmt: skip
    params = small(
        measured,
        Attack(steps=1, relative_step=0.1),
        further=further,
        sources=(measured.teacher,),
        queries=10,
        epsilon=0.5 / 255,
    )
    result = evaluate(measured, params)
    rest = [Method.MI_FGSM, Method.CW, Method.SQUARE, Method.TRANSFER, Method.FEATURE, Method.NOISE]
    for figures in result.models:
        methods = [row.method for row in figures.attacks]
        itself = figures.model == measured.teacher  # no source of transfer to itself
        expected = [Method.PGD, Method.FGSM, *rest]
        assert methods == [m for m in expected if not (itself and m is Method.TRANSFER)]
        assert figures.outcomes is not None
        broken_by = np.array(figures.outcomes.broken_by)
        assert (broken_by == 0).sum() == IMAGES - figures.clean.correct
        standing = figures.clean.correct
        for number, row in enumerate(figures.attacks, start=1):
            assert row.attacked == (figures.clean.correct if number == 1 else standing)
            assert row.broken == (broken_by == number).sum()
            standing -= row.broken
            assert row.worst_case == Accuracy.of(standing, IMAGES)
            seen_by_all = row.method in (Method.PGD, Method.FGSM, Method.CW, Method.SQUARE)
            assert (row.alone is not None) == seen_by_all
            assert row.largest <= params.epsilon + 1e-6
            assert (row.source is not None) == (row.method is Method.TRANSFER)
        assert figures.robust == figures.attacks[-1].worst_case
        assert sum(row.broken > 0 for row in figures.attacks) > 1  # not the first one alone


def test_tables_count_what_is_told_of_each_image(measured: Measured) -> None:
    params = small(measured, models=(measured.student,), minimal_epsilon=True)
    result = evaluate(measured, params)
    (figures,) = result.models
    outcomes, test = figures.outcomes, measured.dataset.split("test")
    assert outcomes is not None
    labels = np.array(result.labels)
    assert np.array_equal(test.all_labels[list(result.image_numbers)], labels)
    x, y = test.to("cpu").batch(torch.tensor(result.image_numbers))
    said = measured.model(measured.student)(x).argmax(1)
    assert outcomes.clean_prediction == tuple(said.tolist())
    broken_by = np.array(outcomes.broken_by)
    assert np.array_equal(broken_by == 0, (said != y).numpy())
    worst = np.array(outcomes.worst_prediction)
    assert np.array_equal(worst == labels, broken_by == -1)
    for label, of_class in enumerate(figures.per_class):
        members = labels == label
        n = int(members.sum())
        assert of_class.clean == Accuracy.of(int((broken_by[members] != 0).sum()), n)
        assert of_class.robust == Accuracy.of(int((broken_by[members] == -1).sum()), n)
        row = figures.confusion_robust[label]
        assert row == tuple(int((worst[members] == other).sum()) for other in range(10))
        row = figures.confusion_clean[label]
        assert row == tuple(int((said.numpy()[members] == c).sum()) for c in range(10))


def test_the_smallest_budget_agrees_with_the_curve(measured: Measured) -> None:
    params = small(measured, models=(measured.student,), minimal_epsilon=True)
    for figures in evaluate(measured, params).models:
        assert figures.outcomes is not None
        least = [
            np.inf if budget is None else budget for budget in figures.outcomes.minimal_epsilon
        ]
        for point in figures.against_epsilon:
            assert point.accuracy.correct == sum(budget > point.x + 1e-8 for budget in least)


def test_cw_alone_is_what_it_is_as_the_only_attack(measured: Measured) -> None:
    how = {"steps": 3, "relative_step": 0.4}
    one = {"models": (measured.student,)}
    later = evaluate(measured, small(measured, Attack(**how), further=(Method.CW,), **one))
    first = evaluate(measured, small(measured, Attack(method=Method.CW, **how), **one))
    for one, other in zip(later.models, first.models, strict=True):
        assert one.attacks[2].method is Method.CW
        assert one.attacks[2].alone == other.attacks[0].alone is not None


def test_square_alone_against_queries(measured: Measured) -> None:
    how = {"further": (Method.SQUARE,), "queries": 30, "epsilon": 4 / 255}
    params = small(measured, models=(measured.student,), **how)
    for figures in evaluate(measured, params).models:
        counts = [point.accuracy.correct for point in figures.against_queries]
        assert [point.x for point in figures.against_queries] == [1, 2, 5, 10, 20, 30]
        assert counts == sorted(counts, reverse=True)
        alone = figures.attacks[2].alone
        assert alone is not None
        assert alone.correct == counts[-1] < counts[0]


def test_a_run_that_stops_early_is_the_run_of_fewer_images(measured: Measured) -> None:
    early = evaluate(
        measured, small(measured, images=120, batch_size=20, stop_half_width=13, step_counts=())
    )
    assert early.stopped_early
    assert early.images < 120
    assert early.images % 20 == 0
    for figures in early.models:
        assert figures.robust is not None
        assert 50 * (figures.robust.high - figures.robust.low) <= 13
    asked = evaluate(measured, small(measured, images=early.images, batch_size=20, step_counts=()))
    assert not asked.stopped_early
    assert untimed(asked).models == untimed(early).models
    assert asked.image_numbers == early.image_numbers


def test_attention_is_compared_with_the_teacher_that_a_model_learned_from(
    measured: Measured,
) -> None:
    teacher = catalogue.model(measured.lab.database, measured.teacher)
    assert teacher is not None
    lineage = registry.lineage_of_model(teacher)
    pupil = register(
        measured.lab,
        measured.model(measured.student),
        measured.dataset.class_names,
        teacher=lineage,
    )
    params = small(
        measured,
        models=(pupil, measured.student),
        attention=True,
        corruptions=True,
        images=20,
        step_counts=(),
    )
    taught, untaught = evaluate(measured, params).models
    assert taught.attention is not None
    assert untaught.attention is not None
    assert taught.attention.reference == lineage
    assert untaught.attention.reference.id == measured.student
    assert taught.attention.images == taught.clean.correct
    assert taught.attention.distances[0].clean.value > 0
    assert untaught.attention.distances[0].clean.value == 0
    assert len(taught.corruptions) == 5 * len(CORRUPTIONS)
    assert taught.corruptions == untaught.corruptions  # the same model, on the same noise


@pytest.mark.slow
def test_autoattack_is_shown_in_its_parts(measured: Measured) -> None:
    params = small(
        measured,
        models=(measured.student,),
        images=10,
        further=(Method.AUTOATTACK, Method.APGD_CE),
        embedding=True,
        step_counts=(),
    )
    (figures,) = evaluate(measured, params).models
    assert [(row.method, row.part_of_autoattack) for row in figures.attacks[2:]] == [
        (Method.APGD_CE, False),
        (Method.APGD_CE, True),
        (Method.APGD_T, True),
        (Method.FAB_T, True),
        (Method.SQUARE, True),
        (Method.NOISE, False),
    ]
    assert figures.embedding is not None
    assert len(figures.embedding.classes) == 10


@pytest.mark.parametrize(
    ("attack", "changes"),
    [
        (
            Attack(method=Method.APGD_CE, norm=Norm.L1, steps=4),
            {"epsilon": 2.0, "epsilons": (1.0,)},
        ),
        (
            Attack(method=Method.MI_FGSM, norm=Norm.L2, steps=4),
            {"epsilon": 0.2, "epsilons": (0.1,)},
        ),
        (Attack(method=Method.CW, steps=4), {}),
    ],
    ids=["apgd-l1", "mi-fgsm-l2", "cw"],
)
def test_every_norm_and_method_of_steps(
    measured: Measured, attack: Attack, changes: dict[str, Any]
) -> None:
    changes = {"models": (measured.student,), "images": 30} | changes
    params = small(measured, attack, minimal_epsilon=True, attention=True, **changes)
    for figures in evaluate(measured, params).models:
        assert figures.robust is not None
        assert figures.robust.correct < figures.clean.correct
        assert figures.verdict is not None
        methods = [row.method for row in figures.attacks]
        # FGSM is not defined in L1.
        assert (Method.FGSM in methods) == (attack.norm is not Norm.L1)
        allowed = params.epsilon + (1e-4 if attack.norm is Norm.L1 else 1e-6)
        assert all(row.largest <= allowed for row in figures.attacks)
        checks = {check.id: check.light for check in figures.verdict.checks}
        assert checks["perturbations"] is checks["best_iterate"] is Light.GREEN
