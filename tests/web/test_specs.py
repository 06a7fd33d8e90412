"""What the contract says about each parameter reaches its field."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.contracts.options import Option
from app.contracts.params import (
    PARAMS_OF,
    AblationParams,
    EvaluateParams,
    ExplainParams,
    Goal,
    ImportModelParams,
    ImportParams,
    Method,
    Norm,
    Params,
    Recipe,
    TrainParams,
)
from app.web.forms.conditions import CHOICE_WHEN, SHOWN_WHEN
from app.web.forms.specs import Spec, specs
from tests.web.parsing import parsed

_ALL = (TrainParams, EvaluateParams, ExplainParams, ImportModelParams, ImportParams)


def _spec(params: type[Params], name: str) -> Spec:
    return next(spec for spec in specs(params) if spec.name == name)


def test_every_training_parameter_has_a_spec_with_its_own_words() -> None:
    assert [spec.name for spec in specs(TrainParams)] == list(TrainParams.model_fields)
    for spec in specs(TrainParams):
        field = TrainParams.model_fields[spec.name]
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        told = (spec.label, spec.help, spec.unit, spec.group)
        assert told == (field.title, field.description, extra["unit"], extra["group"])


@pytest.mark.parametrize("params", _ALL, ids=lambda params: params.__name__)
def test_every_spec_says_what_it_is(params: type[Params]) -> None:
    for spec in specs(params):
        assert spec.label
        assert spec.help
        assert bool(spec.number) == (spec.widget in ("number", "list"))


def test_nested_parameters_stand_in_the_place_of_their_model() -> None:
    names = [spec.name for spec in specs(EvaluateParams)]
    at = names.index("attack.method")
    assert names[at - 1] == "epsilon"
    assert names[names.index("attack.target_class") + 1] == "further"
    assert names[at : at + 3] == ["attack.method", "attack.norm", "attack.steps"]
    assert _spec(EvaluateParams, "attack.steps").group == "First attack"
    assert _spec(EvaluateParams, "attack.norm").group == "Threat model"


def test_the_defaults_of_a_nested_model_are_those_of_its_owner() -> None:
    assert _spec(EvaluateParams, "attack.steps").default == ("20",)
    assert _spec(ExplainParams, "attack.steps").default == ("10",)


@pytest.mark.parametrize(
    ("name", "widget", "default", "bounds"),
    [
        ("epochs", "number", ("10",), "from 1 to 1,000"),
        ("learning_rate", "number", ("0.1",), "above 0, at most 10"),
        ("momentum", "number", ("0.9",), "at least 0, below 1"),
        ("weight_decay", "number", ("0.0002",), "from 0 to 0.1"),
        ("epsilon", "number", ("8",), "above 0, at most 64"),
        ("milestones", "list", ("100, 150",), ""),
        ("mart", "check", ("true",), ""),
        ("recipe", "select", ("clean",), ""),
        ("teacher", "select", (), ""),
        ("name", "text", (), ""),
    ],
)
def test_a_parameter_is_shown_in_the_unit_that_is_typed(
    name: str, widget: str, default: tuple[str, ...], bounds: str
) -> None:
    spec = _spec(TrainParams, name)
    assert (spec.widget, spec.default, str(spec.bounds)) == (widget, default, bounds)


def test_lists_of_budgets_are_typed_in_grey_levels() -> None:
    assert _spec(EvaluateParams, "epsilons").default == ("0, 1, 2, 4, 8, 12, 16",)


def test_choices_of_an_enum_carry_what_its_source_says() -> None:
    choices = _spec(TrainParams, "recipe").choices
    assert [choice.value for choice in choices] == list(Recipe)
    assert (choices[1].label, choices[1].help) == (
        "PGD-AT", "Cross-entropy on adversarial images (Madry et al., ICLR 2018).",
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Recipe, Goal, Method, Norm])
def test_every_member_of_an_explained_enum_is_explained(kind: type[Option]) -> None:
    assert all(member.record.summary for member in kind)


@pytest.mark.parametrize("params", list(SHOWN_WHEN), ids=lambda params: params.__name__)
def test_conditions_name_parameters_and_values_that_exist(params: Any) -> None:
    for name, when in SHOWN_WHEN[params].items():
        assert _spec(params, name)
        field = _spec(params, when.field)
        if when.values is None:
            assert not field.required, "it can be left empty"
            continue
        known = {choice.value for choice in field.choices} or {"true"}
        assert field.choices or field.widget == "check"
        assert when.values
        assert set(when.values) <= known


@pytest.mark.parametrize("params", list(CHOICE_WHEN), ids=lambda params: params.__name__)
def test_conditions_of_choices_name_choices_and_values_that_exist(params: Any) -> None:
    for name, choices in CHOICE_WHEN[params].items():
        assert {c.value for c in _spec(params, name).choices} <= {*choices, Goal.UNTARGETED}
        for when in choices.values():
            assert set(when.values) <= {c.value for c in _spec(params, when.field).choices}


@pytest.mark.parametrize("params", list(PARAMS_OF.values()))
def test_more_help_is_where_it_is_said_to_be(client: httpx.Client, params: type[Params]) -> None:
    for page in {spec.more.partition("#")[0] for spec in specs(params) if spec.more}:
        document = parsed(client.get(f"/help/{page}").text)
        anchors = [spec.more.partition("#")[2] for spec in specs(params)
                   if spec.more.startswith(f"{page}#")]  # fmt: skip
        assert all(document.find(id=anchor) for anchor in anchors), (page, anchors)


def test_terms_are_explained_where_they_lie_inside_others() -> None:
    more = {spec.name: spec.more for spec in specs(AblationParams)}
    assert more["training.margin"] == "training#bml_weight"
    assert more["measure.autoattack"] == "evaluating#the-attacks"
    assert more["name"] == more["training.epochs"] == ""
