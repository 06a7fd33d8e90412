"""Which teachers fit a training: by their classes, their family, and their weights."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.jobs import JobKind
from app.contracts.params import Recipe
from app.contracts.views import JobView
from app.errors import InvalidInput
from app.services import jobs
from app.services.lab import Lab
from tests.web.examples import add_dataset, add_model, train_params

_STUDENTS = [recipe for recipe in Recipe if recipe.is_robust]


def _teacher(lab: Lab, dataset: str, recipe: Recipe, **card_says: Any) -> str:
    """Trained as the recipe needs it: on clean images, or on adversarial ones."""
    robust = "f" * 32 if recipe.record.robust_teacher else None
    return add_model(lab, dataset, teacher=robust, **card_says)


def _submit(lab: Lab, recipe: Recipe, teacher: str, dataset: str, **values: Any) -> JobView:
    params = train_params(recipe=recipe, teacher=teacher, dataset=dataset, **values)
    return jobs.submit(lab, JobKind.TRAIN, params)


@pytest.mark.parametrize("recipe", _STUDENTS)
def test_a_teacher_has_the_classes_of_the_data(lab: Lab, recipe: Recipe) -> None:
    dataset = add_dataset(lab)
    stranger = _teacher(lab, dataset, recipe, classes=("one", "two"))
    with pytest.raises(InvalidInput, match="other classes") as refused:
        _submit(lab, recipe, stranger, dataset)
    assert refused.value.field == "teacher"


@pytest.mark.parametrize("recipe", _STUDENTS)
def test_a_teacher_has_the_image_size_of_the_data(lab: Lab, recipe: Recipe) -> None:
    dataset = add_dataset(lab)
    with pytest.raises(InvalidInput, match="64 pixels"):
        _submit(lab, recipe, _teacher(lab, dataset, recipe, image_size=64), dataset)


@pytest.mark.parametrize("recipe", _STUDENTS)
def test_a_student_starts_only_from_its_own_architecture(lab: Lab, recipe: Recipe) -> None:
    dataset = add_dataset(lab)
    wide = _teacher(lab, dataset, recipe, architecture="wrn-10-4")
    with pytest.raises(InvalidInput, match="cannot start from the weights") as refused:
        _submit(lab, recipe, wide, dataset)
    assert refused.value.field == "start_from_teacher"
    # Of one family, so that attention maps fit, whatever the width.
    _submit(lab, recipe, wide, dataset, start_from_teacher=False)


@pytest.mark.parametrize("recipe", _STUDENTS)
def test_only_recipes_that_compare_attention_need_one_family(lab: Lab, recipe: Recipe) -> None:
    dataset = add_dataset(lab)
    other = _teacher(lab, dataset, recipe, architecture="preactresnet-18")
    if recipe.compares_attention:
        with pytest.raises(InvalidInput, match="attention maps do not fit") as refused:
            _submit(lab, recipe, other, dataset, start_from_teacher=False)
        assert refused.value.field == "architecture"
    else:
        _submit(lab, recipe, other, dataset, start_from_teacher=False)


def test_a_teacher_may_be_of_unknown_training(lab: Lab) -> None:
    dataset = add_dataset(lab)
    imported = add_model(lab, dataset, params=None, validation_clean=None, origin="imported")
    assert _submit(lab, Recipe.AGKD_BML, imported, dataset).params["teacher"] == imported


def test_who_learns_from_predictions_needs_a_robust_teacher(lab: Lab) -> None:
    dataset = add_dataset(lab)
    with pytest.raises(InvalidInput, match="trained on clean images: RSLAD learns") as refused:
        _submit(lab, Recipe.RSLAD, add_model(lab, dataset), dataset)
    assert refused.value.field == "teacher"
    robust = _teacher(lab, dataset, Recipe.RSLAD)
    assert _submit(lab, Recipe.RSLAD, robust, dataset).params["teacher"] == robust
