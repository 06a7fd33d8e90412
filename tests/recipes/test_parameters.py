"""The names that jobs give recipes and their parameters, against what the recipes do."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.params import Recipe, TrainParams
from app.contracts.recipes import READ_BY_SOME
from tests.recipes.toy_batch import toy_batch
from worker.jobs.stepping import parameters_of
from worker.recipes import RECIPES, perturb

BASE: dict[str, Any] = {
    "label_smoothing": 0.5,
    "epsilon": 0.1,
    "step_size": 0.03,
    "steps": 4,
    "agkd_weight": 1.0,
    "bml_weight": 2.0,
    "margin": 0.03,
    "mu": 0.001,
    "mart": True,
    "mart_beta": 6.0,
    "trades_beta": 6.0,
    "direction": "away",
    "awp_gamma": 0.02,
    "awp_warmup": 0,
}
OTHER: dict[str, st.SearchStrategy[Any]] = {
    "label_smoothing": st.floats(0, 0.4),
    # Less than the steps reach, and steps that reach less than the ball.
    "epsilon": st.floats(0.01, 0.08),
    "step_size": st.floats(0.001, 0.02),
    "steps": st.integers(1, 3),
    "agkd_weight": st.floats(0, 0.9) | st.floats(1.1, 100),
    "bml_weight": st.floats(0, 1.9) | st.floats(2.1, 100),
    "margin": st.floats(0.1, 2),
    "mu": st.floats(0.01, 10),
    "mart": st.just(False),
    "mart_beta": st.floats(0, 5.9) | st.floats(6.1, 100),
    "trades_beta": st.floats(0, 5.9) | st.floats(6.1, 100),
    "direction": st.just("confusing"),
    "awp_gamma": st.floats(0, 0.01) | st.floats(0.03, 0.1),
    "awp_warmup": st.integers(1, 1000),
}


def loss(recipe: Recipe, **changed: Any) -> float:
    """Of a step as a job with these parameters takes it."""
    params = TrainParams(
        name="Student",
        dataset="d" * 32,
        recipe=recipe,
        teacher=None if recipe is Recipe.CLEAN else "e" * 32,
        **(BASE | changed),
    )
    given = toy_batch()
    objective = given.objective(recipe, parameters_of(params))
    if params.perturbs_weights(epoch=0):
        perturb(given.student, objective, gamma=params.awp_gamma)
    return objective().loss.item()


before = lru_cache(loss)


def test_jobs_and_the_form_name_the_recipes_that_there_are() -> None:
    assert set(RECIPES) == set(Recipe)
    assert set(BASE) == READ_BY_SOME


def test_recipes_need_a_teacher_where_jobs_say_so() -> None:
    for recipe in Recipe:
        seen = toy_batch()
        seen.take(recipe)
        assert bool(seen.teacher.calls) == recipe.needs_teacher
        assert (toy_batch().take(recipe).adversarial is not None) == recipe.is_robust


@pytest.mark.parametrize("recipe", Recipe)
@settings(max_examples=3)
@given(values=st.fixed_dictionaries(OTHER))
def test_a_recipe_reads_its_own_knobs_and_no_others(recipe: Recipe, values: dict[str, Any]) -> None:
    changing = {
        name for name, new in values.items() if loss(recipe, **{name: new}) != before(recipe)
    }
    assert changing == recipe.record.parameters


@settings(max_examples=10)
@given(
    recipe=st.sampled_from([r for r in Recipe if "mart" in r.record.parameters]),
    beta=OTHER["mart_beta"],
)
def test_without_mart_its_beta_says_nothing(recipe: Recipe, beta: float) -> None:
    assert loss(recipe, mart=False, mart_beta=beta) == loss(recipe, mart=False)
