"""What a model's card says of its origin reaches the verdict."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.contracts.params import Recipe
from app.contracts.results import Check, Light, ModelFigures
from app.store import catalogue
from tests.jobs.evaluations import evaluate, small
from tests.jobs.measured import Measured, register
from worker import registry


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def registered(measured: Measured, *, teacher: str | None = None, **facts: Any) -> str:
    """The student's weights again, with another card; returns its id."""
    lineage = None
    if teacher is not None:
        row = catalogue.model(measured.lab.database, teacher)
        assert row is not None
        lineage = registry.lineage_of_model(row)
    return register(
        measured.lab,
        measured.model(measured.student),
        measured.dataset.class_names,
        teacher=lineage,
        **facts,
    )


def trained(recipe: Recipe) -> dict[str, Any]:
    return {"params": {"recipe": recipe.value}, "origin": "trained"}


def checked(figures: ModelFigures, name: str) -> Check:
    assert figures.verdict is not None
    (found,) = [check for check in figures.verdict.checks if check.id == name]
    return found


@pytest.mark.slow
def test_cards_decide_what_the_verdict_takes_for_granted(measured: Measured) -> None:
    imported: dict[str, Any] = {"params": None, "origin": "imported"}
    clean = registered(measured, **trained(Recipe.CLEAN), kept="last")
    robust = registered(measured, **trained(Recipe.PGD_AT), kept="best")
    unknown = registered(measured, **imported)
    models = (
        clean,
        unknown,
        registered(measured, teacher=clean, **trained(Recipe.AGKD)),
        registered(measured, teacher=robust, **trained(Recipe.AGKD)),
        registered(measured, teacher=unknown, **trained(Recipe.AGKD)),
        registered(measured, teacher=clean, **imported),
    )
    found = []
    for some in (models[:3], models[3:]):  # an evaluation takes up to four
        params = small(measured, models=some, images=8, step_counts=(), epsilons=())
        found.extend(evaluate(measured, params).models)
    undefended = [checked(figures, "undefended_teacher") for figures in found]
    said = [
        "the model itself",
        "no undefended teacher is known",
        "the teacher: ",
        "trained on adversarial images itself",
        "nobody told how the teacher was trained",
        "the teacher: ",
    ]
    for check, words in zip(undefended, said, strict=True):
        assert words in check.figure + check.sentence
    chosen = [checked(figures, "selection") for figures in found]
    assert [check.light is Light.GREEN for check in chosen] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]
    assert chosen[0].figure == "the last epoch"
    assert chosen[1].figure == "not measured"
    assert chosen[2].figure == "the best epoch on held-out training images"
