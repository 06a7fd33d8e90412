"""Curves and smallest budgets: against counts by hand, and where a linear model's are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.params import Attack, Method, Norm
from tests.evaluation.batches import LinearNet, grey, measured, middle, params
from worker.evaluation import curves
from worker.evaluation.curves import query_counts
from worker.evaluation.minimal import halvings, resolution
from worker.evaluation.outcomes import MAIN, STANDS, ChunkState, RunRecord
from worker.evaluation.success import Success


def _ruling(*rows: tuple[bool, float]) -> Success:
    broken, length = zip(*rows, strict=True)
    return Success(
        torch.tensor(broken),
        torch.ones(len(rows), dtype=torch.int64),
        torch.tensor(length, dtype=torch.float64),
        torch.rand(len(rows), 3, 1, 1),
    )


def _state(wrong: list[bool]) -> ChunkState:
    y = torch.zeros(len(wrong), dtype=torch.int64)
    x = torch.zeros(len(wrong), 3, 1, 1)
    return ChunkState.after_clean_pass(x, y, torch.tensor(wrong).long())


def test_what_is_known_of_an_image_by_hand() -> None:
    state = _state([True, False, False, False])
    assert state.correct().tolist() == state.standing().tolist() == [1, 2, 3]
    state.note(torch.tensor([1, 2]), _ruling((True, 0.2), (False, 0.3)), 0.3, by=MAIN, own=0.3)
    assert state.broken_by.tolist() == [0, 1, STANDS, STANDS]
    assert state.worst.tolist() == [1, 1, 0, 0]
    state.note(torch.tensor([1, 3]), _ruling((True, 0.1), (True, 0.31)), 0.3, by=2, own=0.3)
    assert state.broken_by.tolist() == [0, 1, STANDS, 2]  # the first one has it
    assert state.upper.tolist() == [0, 0.1, np.inf, 0.3]  # rounding does not leave the ball
    beyond = _ruling((True, 0.5))
    state.note(torch.tensor([2]), beyond, 0.5, by=MAIN, own=0.3)  # beyond the threat model
    assert state.standing().tolist() == [2]
    assert state.unbroken_at(0.3).tolist() == [2]
    assert state.unbroken_at(0.2).tolist() == [2, 3]
    state.withstood(torch.tensor([2, 3]), 0.25)
    state.withstood(torch.tensor([2]), 0.1)
    assert state.lower.tolist() == [0, 0, 0.25, 0.25]


def test_a_short_example_of_a_larger_budget_counts_within_the_threat_model() -> None:
    state = _state([False, False])
    every = torch.tensor([0, 1])
    state.note(every, _ruling((True, 0.2), (True, 0.4)), 0.5, by=MAIN, own=0.3)
    assert state.upper.tolist() == [0.2, 0.4]
    assert state.broken_by.tolist() == [MAIN, STANDS]
    assert state.worst.tolist() == [1, 0]
    assert torch.equal(state.standing(), state.unbroken_at(0.3))  # as the curve has it


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.001, 1)), min_size=1, max_size=20),
    st.lists(st.floats(0, 1), min_size=1, max_size=6, unique=True),
    st.integers(1, 4),
)
def test_the_curve_counts_what_nothing_breaks(
    images: list[tuple[bool, float]], budgets: list[float], chunk: int
) -> None:
    """Whatever the order of images and chunks, and it never rises."""
    record = RunRecord()
    numbers = list(range(len(images)))[::-1]
    for at in range(0, len(images), chunk):
        part = images[at : at + chunk]
        state = _state([wrong for wrong, _ in part])
        rows = torch.tensor([row for row, (wrong, _) in enumerate(part) if not wrong]).long()
        lengths = [(True, length) for wrong, length in part if not wrong]
        if lengths:
            state.note(rows, _ruling(*lengths), 1.0, by=MAIN, own=1.0)
        record.add(tuple(numbers[at : at + chunk]), state)
    points = curves.against_epsilon(record, params(Attack(norm=Norm.L2), epsilons=sorted(budgets)))
    expected = [
        sum(not wrong and least > budget for wrong, least in images) for budget in sorted(budgets)
    ]
    assert [point.accuracy.correct for point in points] == expected
    assert expected == sorted(expected, reverse=True)
    upper = [0.0 if wrong else least for wrong, least in images]
    assert record["upper"].tolist() == upper[::-1]  # in the order of the images' numbers


@pytest.mark.parametrize(
    ("most", "counts"),
    [
        (10, (1, 2, 5, 10)),
        (1000, (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
        (30, (1, 2, 5, 10, 20, 30)),
    ],
)
def test_queries_are_spaced_evenly_on_a_logarithm(most: int, counts: tuple[int, ...]) -> None:
    assert query_counts(most) == counts


@pytest.mark.parametrize(("norm", "dual", "eps"), [(Norm.LINF, 1.0, 8 / 255), (Norm.L2, 2.0, 0.3)])
def test_the_smallest_budget_of_a_linear_model(norm: Norm, dual: float, eps: float) -> None:
    x, model = grey(40), LinearNet()
    y = model(x).argmax(dim=1)
    y[0] = 1 - y[0]
    truth = model.budgets(x, dual).numpy()
    truth[0] = 0
    largest = float(np.quantile(truth, 0.8))
    chosen = params(
        Attack(norm=norm, steps=30),
        epsilon=eps,
        epsilons=(largest / 2, largest),
        minimal_epsilon=True,
    )
    result = measured(model, x, y, chosen, chunks=2)
    upper = result.record["upper"]
    top = max(eps, largest)
    known = truth < top * (1 - 1e-4)
    assert np.isinf(upper[truth > top * (1 + 1e-4)]).all()
    over = upper[known] - truth[known]
    assert (over > -1e-5).all()  # an example proves it
    assert (over <= np.clip(truth[known] / 7, resolution(chosen) / 16, resolution(chosen))).all()
    for point in curves.against_epsilon(result.record, chosen):
        assert point.accuracy.correct == (truth > point.x).sum()


def test_halvings_reach_the_resolution_from_the_widest_bracket() -> None:
    assert halvings(params(epsilons=(4 / 255, 8 / 255))) == 4  # 4/255 to 1/4 of 1/255
    assert halvings(params(epsilons=())) == 5  # from 0 to 8/255
    assert halvings(params(Attack(norm=Norm.L2), epsilon=0.5, epsilons=())) == 5


def test_a_linear_model_needs_no_second_start() -> None:
    x, model = grey(30), LinearNet()
    y = model(x).argmax(dim=1)
    eps = middle(model.budgets(x, 1))
    chosen = params(Attack(steps=20, restarts=3), epsilon=eps)
    points = curves.against_restarts(measured(model, x, y, chosen).record, chosen)
    assert [point.x for point in points] == [1, 2, 3]
    assert {point.accuracy.correct for point in points} == {int((model.budgets(x, 1) > eps).sum())}


def test_starts_that_are_not_random_are_one() -> None:
    x, model = grey(5), LinearNet()
    y = model(x).argmax(dim=1)
    for attack in (
        Attack(method=Method.BIM, steps=2, restarts=3),
        Attack(steps=2, restarts=3, random_start=False),
    ):
        chosen = params(attack, step_counts=(1,))
        assert curves.against_restarts(measured(model, x, y, chosen).record, chosen) == ()


def test_curves_that_an_attack_cannot_draw_are_empty() -> None:
    x, model = grey(5), LinearNet()
    y = model(x).argmax(dim=1)
    chosen = params(Attack(method=Method.FGSM, restarts=3), step_counts=(1, 5))
    record = measured(model, x, y, chosen).record
    assert curves.against_steps(record, chosen) == ()
    assert curves.against_restarts(record, chosen) == ()
    assert curves.against_queries(record, chosen) == ()
