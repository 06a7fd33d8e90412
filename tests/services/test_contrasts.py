"""What each row of a design changes: image by image, beside the row that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.ablations import lifecycle
from app.contracts.jobs import JobKind
from app.contracts.params import AblationParams
from app.contracts.results import Survival
from app.services import ablations, jobs
from app.services.lab import Lab
from tests.plugins.families import children_of, succeed, take
from tests.web.examples import add_dataset, add_model

FIRST = {"clean": 90, "fgsm": 60, "pgd": 50, "cw": 45, "aa": 40}
SECOND = {"clean": 80, "fgsm": 70, "pgd": 60, "cw": 40, "aa": 30}


def submitted(lab: Lab, **changes: Any) -> str:
    dataset = add_dataset(lab)
    shared = {"name": "x", "dataset": dataset, "recipe": "agkd_bml"}
    values = {"name": "Apart", "design": "steps", "seeds": (0, 1),
              "training": {**shared, "teacher": add_model(lab, dataset)}}  # fmt: skip
    return jobs.submit(
        lab, JobKind.ABLATION, AblationParams.model_validate({**values, **changes})
    ).id


def measure(lab: Lab, job: str, *rows: Mapping[str, int], seeds: int = 2) -> None:
    """Let the first rows be trained and measured, each with the same figures for every seed."""
    for child in children_of(lab.database, job)[: len(rows) * seeds]:
        succeed(lab.database, lab.files, take(lab.database, child.id))
    lifecycle.advance(lab.database, lab.files, job)
    evaluations = [c for c in children_of(lab.database, job) if c.kind == JobKind.EVALUATE]
    for number, child in enumerate(evaluations):
        shares = rows[number // seeds]
        succeed(lab.database, lab.files, take(lab.database, child.id), shares)


def test_a_row_beside_the_one_before_it(lab: Lab) -> None:
    """Of 100 images: under PGD 50 stand, then 60; under all attacks 40, then 30; so 10 fall between
    in the first row, and 30 in the second, of which 5 (images 40 to 44) fell in both."""
    job = submitted(lab)
    measure(lab, job, FIRST, SECOND)
    first, second, *others = ablations.contrasts_of(lab, ablations.get(lab, job))
    assert first.changes == {}
    assert first.shares == pytest.approx(
        {Survival.PGD: 0.5, Survival.CW: 0.45, Survival.AUTOATTACK: 0.4, Survival.FALL: 0.1}
    )
    assert (second.beside, second.label) == (0, "AGKD-BML, 2 steps")
    by_stage = {
        stage: [(c.seed, c.only_before, c.only_here) for c in changes]
        for stage, changes in second.changes.items()
    }
    assert by_stage == {
        Survival.PGD: [(0, 0, 10), (1, 0, 10)],
        Survival.CW: [(0, 5, 0), (1, 5, 0)],
        Survival.AUTOATTACK: [(0, 10, 0), (1, 10, 0)],
        Survival.FALL: [(0, 0, 20), (1, 0, 20)],
    }
    change = second.changes[Survival.AUTOATTACK][0]
    assert change.difference == pytest.approx(-0.1)
    assert change.low < -0.1 < change.high < 0
    assert change.p_value == pytest.approx(2 / 2**10)  # ten coins, all on one side
    assert change.p_value < change.p_adjusted <= 1
    assert [(contrast.shares, contrast.changes) for contrast in others] == [({}, {})] * 3


def test_without_autoattack_nothing_is_said_of_a_fall(lab: Lab) -> None:
    job = submitted(lab, seeds=(3,), measure={"autoattack": False})
    measure(lab, job, FIRST, SECOND, seeds=1)
    _, second, *_ = ablations.contrasts_of(lab, ablations.get(lab, job))
    assert set(second.changes) == set(second.shares) == {Survival.PGD, Survival.CW}


def test_recipes_with_a_grid_have_no_contrasts(lab: Lab) -> None:
    job = submitted(lab, design="grid", recipes=("pgd_at", "agkd_bml"))
    assert ablations.contrasts_of(lab, ablations.get(lab, job)) == ()


def test_a_result_that_is_gone_leaves_its_row_empty(lab: Lab) -> None:
    job = submitted(lab, seeds=(0,))
    measure(lab, job, FIRST, SECOND, seeds=1)
    gone = next(c for c in children_of(lab.database, job) if c.kind == JobKind.EVALUATE)
    lab.files.result(gone.id).unlink()
    first, second, *_ = ablations.contrasts_of(lab, ablations.get(lab, job))
    assert (first.shares, second.changes) == ({}, {})
    assert second.shares
