"""Which attacks run on a model, and that nothing but the success check says what is broken."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.params import Attack, Method, Norm
from tests.evaluation.batches import (
    LinearNet,
    grey,
    lineage,
    measured,
    middle,
    params,
    target_model,
)
from worker.attacks import FirstBreak
from worker.evaluation import runs
from worker.evaluation.attacks import plan
from worker.evaluation.figures import attack_rows, facts_of
from worker.evaluation.runs import lengths_of
from worker.evaluation.success import SuccessCheck
from worker.evaluation.target import Source

EPS = 8 / 255


def _plan(*further: Method, main: Method = Method.PGD, **changes: Any) -> list[Method]:
    chosen = params(Attack(method=main), further=further, **changes)
    source = Source(lineage("b"), LinearNet(1))
    itself = Source(lineage("a"), LinearNet(0))
    return [row.method for row in plan(chosen, target_model(LinearNet()), (itself, source))]


def test_attacks_run_in_one_order() -> None:
    chosen = (
        Method.NOISE,
        Method.SQUARE,
        Method.FGSM,
        Method.CW,
        Method.APGD_T,
        Method.MALT,
        Method.BIM,
    )
    expected = [
        Method.PGD, Method.FGSM, Method.BIM, Method.CW, Method.MALT, Method.APGD_T, Method.SQUARE,
        Method.NOISE,
    ]  # fmt: skip
    assert _plan(*chosen) == expected
    assert _plan(*reversed(chosen)) == expected


def test_the_controls_always_run() -> None:
    assert _plan() == [Method.PGD, Method.FGSM, Method.NOISE]
    assert _plan(main=Method.FGSM) == [Method.FGSM, Method.NOISE]


def test_the_main_attack_runs_once() -> None:
    assert _plan(Method.PGD, Method.CW, main=Method.CW) == [
        Method.CW, Method.FGSM, Method.PGD, Method.NOISE,
    ]  # fmt: skip


def test_autoattack_is_four_rows_beside_what_else_was_chosen() -> None:
    chosen = params(further=(Method.AUTOATTACK, Method.SQUARE))
    rows = plan(chosen, target_model(LinearNet()), ())[2:]
    assert [(row.method, row.part is not None) for row in rows] == [
        (Method.SQUARE, False),
        (Method.APGD_CE, True),
        (Method.APGD_T, True),
        (Method.FAB_T, True),
        (Method.SQUARE, True),
        (Method.NOISE, False),
    ]
    # Only Square alone is shown to images that others broke.
    assert [row.sees_all for row in rows] == [True, False, False, False, False, False]


def test_attacks_that_are_quoted_alone_see_every_image() -> None:
    chosen = params(further=(Method.CW, Method.MI_FGSM, Method.SQUARE))
    rows = plan(chosen, target_model(LinearNet()), ())
    assert {row.method for row in rows if row.sees_all} == {Method.FGSM, Method.CW, Method.SQUARE}


def test_a_model_is_no_source_to_itself() -> None:
    sources = ("a" * 32, "b" * 32)
    assert _plan(Method.TRANSFER, sources=sources).count(Method.TRANSFER) == 1


@pytest.mark.parametrize(
    ("attack", "counts", "lengths"),
    [
        (Attack(steps=20), (), (40,)),
        (Attack(steps=20), (1, 50), (50,)),
        (Attack(steps=20), (1, 30), (40,)),
        (Attack(method=Method.FGSM), (1, 50), (1,)),
        (Attack(method=Method.APGD_CE, steps=20), (1, 30), (20, 30, 40)),
        (Attack(method=Method.APGD_DLR, steps=20), (), (20, 40)),
    ],
)
def test_runs_are_long_enough(
    attack: Attack, counts: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    assert lengths_of(attack, counts) == lengths


def _checked(x_adv: Tensor, x: Tensor, norm: Norm = Norm.LINF, **arguments: Any) -> SuccessCheck:
    success_check = SuccessCheck(LinearNet(), norm.value)
    y = LinearNet()(x).argmax(dim=1)
    arguments.setdefault("claimed", torch.ones(len(x), dtype=torch.bool))
    success_check(x, x_adv, y, EPS, **arguments)
    return success_check


def _broken(x: Tensor, share: float) -> Tensor:
    """Moved against the answer by a share of ε in every pixel."""
    model = LinearNet()
    sign = torch.where(model(x).argmax(dim=1) == 0, -1.0, 1.0)[:, None, None, None]
    return x + share * EPS * sign * model.body.weight[:1].sign()


def test_the_success_check_by_hand() -> None:
    x, model = grey(6), LinearNet()
    y = model(x).argmax(dim=1)
    x_adv = _broken(x, 1.0)
    x_adv[1] = x[1]  # still right
    x_adv[2] = _broken(x[2:3], 1.1)[0]  # too far
    x_adv[3, 0, 0, 0] = math.nan
    x_adv[4, 0, 0, 0] = 1.0 + 1e-4
    success_check = SuccessCheck(model, "linf")
    claimed = torch.tensor([True, False, True, True, False, False])
    success = success_check(x, x_adv, y, EPS, claimed)
    assert success.broken.tolist() == [True, False, False, False, False, True]
    assert success.predicted[0] == 1 - y[0]
    assert success.length[[0, 1, 2]].tolist() == pytest.approx([EPS, 0, 1.1 * EPS], abs=1e-7)
    assert success.length[3] == math.inf
    assert (success_check.not_finite, success_check.out_of_range) == (1, 1)
    assert success_check.disproved == 2


def test_an_answer_that_is_no_number_is_no_right_answer() -> None:
    x = grey(2)
    success_check = SuccessCheck(lambda images: torch.full((len(images), 2), math.nan), "linf")
    success = success_check(x, x, torch.zeros(2, dtype=torch.int64), EPS)
    assert success.broken.all()


@pytest.mark.parametrize(("excess", "allowed"), [(5e-7, True), (5e-6, False)])
def test_rounding_may_leave_the_ball_by_a_millionth(excess: float, allowed: bool) -> None:
    x = grey(4)
    success_check = _checked(_broken(x, 1 + excess / EPS), x)
    assert success_check.disproved == (0 if allowed else 4)


def test_a_lie_changes_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that claims every image, with perturbations far outside the ball."""

    def liar(model: Any, x: Tensor, y: Tensor, **_: Any) -> FirstBreak:
        return FirstBreak(1 - x, torch.ones_like(y))

    x, model = grey(20), LinearNet()
    x = x[model.budgets(x, 1) > EPS / 100]  # nothing within the budget breaks these
    y = model(x).argmax(dim=1)
    monkeypatch.setattr(runs, "iterate", liar)
    result = measured(model, x, y, params(Attack(steps=5), epsilon=EPS / 100))
    assert result.robust().correct == len(x) > 3
    facts = facts_of(result)
    assert facts.disproved == len(x)
    assert facts.largest > 0.1
    assert [row.broken for row in attack_rows(result)] == [0, 0, 0]


def test_facts_of_a_linear_model() -> None:
    """The best attack is one step, so every figure is the share of images that ε reaches."""
    x = grey(40)
    model = LinearNet()
    y = model(x).argmax(dim=1)
    y[:3] = 1 - y[:3]  # wrong when clean
    eps = middle(model.budgets(x, 1))
    within = int((model.budgets(x, 1)[3:] > eps).sum())
    facts = facts_of(measured(model, x, y, params(Attack(steps=20), epsilon=eps), chunks=3))
    assert facts.clean.correct == 37
    assert facts.robust.correct == facts.main.correct == facts.fgsm.correct == within
    assert facts.doubled is not None
    assert facts.doubled.correct == within
    assert (facts.only_fgsm, facts.out_of_range, facts.not_finite, facts.disproved) == (0, 0, 0, 0)
    assert facts.largest == pytest.approx(eps, abs=1e-6)
    assert facts.autoattack is None
    assert [row.attacked for row in facts.attacks] == [37, within, within]


@pytest.mark.parametrize("method", [Method.APGD_CE, Method.APGD_DLR])
def test_attacks_with_a_schedule_run_again_for_more_steps(method: Method) -> None:
    """Every length is a run of its own, and no image breaks between two of them."""
    x = grey(30, seed=1)
    model = LinearNet()
    y = model(x).argmax(dim=1)
    eps = middle(model.budgets(x, 1))
    chosen = params(Attack(method=method, steps=2), epsilon=eps, step_counts=(1, 2, 7))
    result = measured(model, x, y, chosen)
    first_break = result.record["first_break"]
    assert result.lengths == (2, 4, 7)
    assert set(first_break.tolist()) <= {1, 2, 3, 5, 8}
    assert (first_break > 7).sum() == (model.budgets(x, 1) > eps).sum()


def test_every_attack_takes_two_classes() -> None:
    x = grey(12, seed=2)
    model = LinearNet()
    y = model(x).argmax(dim=1)
    eps = middle(model.budgets(x, 1))
    further = (
        Method.APGD_DLR,
        Method.MALT,
        Method.APGD_T,
        Method.FAB_T,
        Method.DEEPFOOL,
        Method.AUTOATTACK,
    )
    chosen = params(Attack(steps=10), epsilon=eps, further=further)
    rows = attack_rows(measured(model, x, y, chosen))
    assert [row.broken for row in rows] == [6] + [0] * 11
    assert {row.attacked for row in rows[1:]} == {6}
