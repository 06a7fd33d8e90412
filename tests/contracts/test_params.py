"""Every parameter: defaults, bounds, rules over several fields, metadata for the forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.jobs import JobKind
from app.contracts.params import (
    PARAMS_OF,
    Attack,
    EvaluateParams,
    ExplainParams,
    ImportParams,
    Params,
    Recipe,
    TrainParams,
)
from app.errors import field_errors

ID, OTHER = "a" * 32, "b" * 32
TRAIN = {"name": "Model", "dataset": ID}
EVALUATE = {"models": [ID], "dataset": ID}
EXPLAIN = {"upload": ID, "models": [ID, OTHER]}
IMPORT = {"name": "Set"}


def fields_refused(kind: type[Params], values: dict[str, Any]) -> list[str]:
    """The names of the fields that are wrong, in order; none when all is well."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return [name for name, _ in field_errors(error.errors())]
    return []


def test_the_defaults_are_those_of_the_released_code() -> None:
    params = TrainParams.model_validate(TRAIN)
    assert params.epsilon == pytest.approx(8 / 255)
    assert params.step_size == pytest.approx(2 / 255)
    attack = (params.steps, params.margin, params.bml_weight, params.mu)
    assert attack == (10, 0.03, 2.0, 0.001)
    objective = (params.label_smoothing, params.mart, params.mart_beta, params.agkd_weight)
    assert objective == (0.5, True, 6.0, 1.0)
    optimiser = (params.learning_rate, params.momentum, params.weight_decay, params.batch_size)
    assert optimiser == (0.1, 0.9, 2e-4, 128)
    assert params.milestones == (100, 150)


@pytest.mark.parametrize("recipe", Recipe)
def test_labels_are_smoothed_as_the_recipe_says_unless_said_otherwise(recipe: Recipe) -> None:
    teacher = {} if recipe is Recipe.CLEAN else {"teacher": OTHER}
    values = {**TRAIN, **teacher, "recipe": str(recipe)}
    smooths = {"clean", "sml", "agkd", "bml", "agkd_bml"}
    left = TrainParams.model_validate_json(json.dumps(values), strict=True)
    assert left.label_smoothing == (0.5 if recipe in smooths else 0.0)
    said = TrainParams.model_validate({**values, "label_smoothing": 0.25})
    assert TrainParams.model_validate(said.model_dump(mode="json")).label_smoothing == 0.25


def test_what_is_wrong_elsewhere_is_not_said_of_the_smoothing_too() -> None:
    assert fields_refused(TrainParams, TRAIN | {"recipe": "none"}) == ["recipe"]
    assert fields_refused(TrainParams, TRAIN | {"label_smoothing": None}) == ["label_smoothing"]


@pytest.mark.parametrize(
    ("kind", "base", "field", "values"),
    [
        (TrainParams, TRAIN, "epochs", [1.5, None]),
        (TrainParams, TRAIN, "learning_rate", [float("inf")]),
        (TrainParams, TRAIN, "epsilon", ["65/255", "8/256"]),
        (TrainParams, TRAIN, "milestones", [[2, 1], [1, 1], [0], list(range(1, 12))]),
        (TrainParams, TRAIN, "name", ["", "  ", "x" * 81, "two\nlines", "nul\0"]),
        (TrainParams, TRAIN, "dataset", ["A" * 32, "a" * 31, "../etc/passwd", ID + "\n"]),
        (TrainParams, TRAIN, "architecture",
         ["wrn-28", "wrn-11-2", "wrn-4-2", "wrn-10-0", "resnet-20", "wrn-10-2\n"]),
        (EvaluateParams, EVALUATE, "models", [[], [ID, ID], [ID] * 9]),
        (EvaluateParams, EVALUATE, "epsilons", [[0.1, 0.1], [0.2, 0.1], [-0.1], [0.26]]),
        (EvaluateParams, EVALUATE, "epsilon", [0, 0.26]),
        (EvaluateParams, EVALUATE, "step_counts", [[0], [1001], [2, 1]]),
        (EvaluateParams, EVALUATE, "images", [0, 1_000_001]),
        (ExplainParams, EXPLAIN, "max_epsilon", [0, 0.26, "65/255"]),
        (ExplainParams, EXPLAIN, "label", ["x" * 201]),
        (ExplainParams, EXPLAIN, "models", [[], [ID, ID], [ID] * 7]),
        (ImportParams, IMPORT, "image_size", [31, 48, 256]),
        (ImportParams, IMPORT, "upload", [ID]),
    ],
)  # fmt: skip
def test_a_value_out_of_bounds_is_refused_by_name(
    kind: type[Params], base: dict[str, Any], field: str, values: list[Any]
) -> None:
    assert fields_refused(kind, base) == []
    for value in values:
        names = fields_refused(kind, {**base, field: value})
        assert names, value
        assert {name.split(".")[0] for name in names} == {field}, value


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (TrainParams, {**TRAIN, "recipe": "agkd_bml"}, "teacher"),
        (TrainParams, {**TRAIN, "teacher": OTHER}, "teacher"),
        (ImportParams, {**IMPORT, "source": "archive"}, "upload"),
        (Attack, {"goal": "class"}, "target_class"),
        (Attack, {"target_class": "cat"}, "target_class"),
        (EvaluateParams, {**EVALUATE, "attack": {"goal": "class"}}, "target_class"),
        (EvaluateParams, {**EVALUATE, "epsilon": 5.0}, "epsilon"),
    ],
)
def test_a_rule_over_several_fields_names_the_one_to_change(
    kind: type[Params], values: dict[str, Any], field: str
) -> None:
    assert fields_refused(kind, values) == [field]


def test_l2_allows_what_linf_does_not() -> None:
    l2 = {"attack": {"norm": "l2"}}
    assert fields_refused(EvaluateParams, {**EVALUATE, **l2, "epsilon": 5.0}) == []
    assert fields_refused(EvaluateParams, {**EVALUATE, **l2, "epsilon": 10.1}) == ["epsilon"]


@pytest.mark.parametrize("architecture", ["wrn-10-2", "wrn-28-10", "preactresnet-18"])
def test_architectures_that_exist(architecture: str) -> None:
    assert fields_refused(TrainParams, {**TRAIN, "architecture": architecture}) == []


@given(st.text(max_size=100))
def test_a_name_is_kept_or_refused_but_never_changed_inside(name: str) -> None:
    if fields_refused(ImportParams, {"name": name}):
        return
    kept = ImportParams.model_validate({"name": name}).name
    assert kept == name.strip()
    assert kept.isprintable()
    assert 1 <= len(kept) <= 80


@pytest.mark.parametrize("kind", list(PARAMS_OF.values()))
def test_unknown_fields_are_errors(kind: type[Params]) -> None:
    assert "epsilom" in fields_refused(kind, {"epsilom": 1})


@pytest.mark.parametrize("kind", list(JobKind))
def test_every_knob_explains_itself(kind: JobKind) -> None:
    for name, field in PARAMS_OF[kind].model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("kind", "values"),
    [(TrainParams, TRAIN), (EvaluateParams, EVALUATE), (ExplainParams, EXPLAIN),
     (ImportParams, IMPORT)],
)  # fmt: skip
def test_what_is_stored_reads_back_the_same(kind: type[Params], values: dict[str, Any]) -> None:
    params = kind.model_validate(values)
    assert kind.model_validate(params.model_dump(mode="json")) == params
    assert kind.model_validate_json(params.model_dump_json()) == params
