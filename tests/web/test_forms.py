"""From what is typed to parameters and back, with nothing lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.params import (
    AblationParams,
    Attack,
    EvaluateParams,
    ImportModelParams,
    ImportParams,
    Method,
    Norm,
    Params,
    Schedule,
    TrainParams,
)
from app.contracts.units import from_255
from app.errors import InvalidInput
from app.web.forms.choices import Offer
from app.web.forms.entries import Rejected, entries_of, read, rejected_by_service
from app.web.forms.form import FormView, form_of
from app.web.forms.specs import Choice

_ID, _OTHER_ID = "a" * 32, "b" * 32
_IN_LINF = [method for method in Method if Norm.LINF in method.record.norms]
_levels = st.integers(1, 640).map(lambda tenths: from_255(tenths / 10))
_train = st.builds(
    TrainParams,
    name=st.from_regex(r"[A-Za-z<&\"'][A-Za-z<&\"' ]{0,20}[A-Za-z]", fullmatch=True),
    dataset=st.just(_ID),
    epochs=st.integers(1, 1000),
    learning_rate=st.floats(1e-6, 10),
    schedule=st.sampled_from(Schedule),
    milestones=st.sets(st.integers(1, 999), max_size=10).map(lambda s: tuple(sorted(s))),
    epsilon=_levels,
    step_size=_levels,
    mart=st.booleans(),
    augment=st.booleans(),
    mu=st.floats(0, 10),
)
_evaluate = st.builds(
    EvaluateParams,
    models=st.sampled_from([(_ID,), (_ID, _OTHER_ID)]),
    dataset=st.just(_ID),
    attack=st.builds(Attack, steps=st.integers(1, 1000), random_start=st.booleans()),
    epsilon=_levels,
    further=st.sets(st.sampled_from(_IN_LINF)).map(lambda s: tuple(sorted(s))),
    sources=st.just((_OTHER_ID,)),
    minimal_epsilon=st.booleans(),
    embedding=st.booleans(),
    stop_half_width=st.none() | st.floats(0.1, 50),
    epsilons=st.sets(_levels, min_size=1, max_size=9).map(lambda s: tuple(sorted(s))),
    step_counts=st.sets(st.integers(1, 1000), max_size=9).map(lambda s: tuple(sorted(s))),
)


def _typed(**entries: str) -> dict[str, tuple[str, ...]]:
    named = {"name": "Model", "dataset": _ID, **entries}
    return {name: (entry,) for name, entry in named.items()}


def _messages(params: type[Params], entries: dict[str, tuple[str, ...]]) -> dict[str, str]:
    with pytest.raises(Rejected) as rejected:
        read(params, entries)
    return rejected.value.messages


@given(_train)
def test_training_parameters_survive_being_typed(params: TrainParams) -> None:
    typed = entries_of(TrainParams, params.model_dump(mode="json"))
    again = read(TrainParams, typed)
    loose = {"epsilon", "step_size"}
    assert again.model_dump(exclude=loose) == params.model_dump(exclude=loose)
    assert again.epsilon == pytest.approx(params.epsilon, abs=1e-9)
    assert again.step_size == pytest.approx(params.step_size, abs=1e-9)


@given(_evaluate)
def test_evaluation_parameters_survive_being_typed(params: EvaluateParams) -> None:
    typed = entries_of(EvaluateParams, params.model_dump(mode="json"))
    again = read(EvaluateParams, typed)
    loose = {"epsilon", "epsilons"}
    assert again.model_dump(exclude=loose) == params.model_dump(exclude=loose)
    assert again.epsilon == pytest.approx(params.epsilon, abs=1e-9)
    assert again.epsilons == pytest.approx(params.epsilons, abs=1e-9)


def test_eight_is_eight_of_255() -> None:
    assert read(TrainParams, _typed(epsilon="8")).epsilon == 8 / 255
    assert read(TrainParams, _typed(epsilon="8/255")).epsilon == 8 / 255


def test_what_is_not_sent_keeps_its_default_and_an_off_check_is_off() -> None:
    assert read(TrainParams, _typed()).mart is True
    assert read(TrainParams, {**_typed(), "mart": ()}).mart is False


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("epsilon", "64.5", "must be above 0, at most 64 (/255)"),
        ("epsilon", "0", "must be above 0, at most 64 (/255)"),
        ("epsilon", "eight", "must be a number"),
        ("epsilon", "-1", "must be above 0, at most 64 (/255)"),
        ("epochs", "2.5", "must be a whole number"),
        ("epochs", "", "must be a whole number"),
        ("epochs", "0", "must be from 1 to 1,000"),
        ("batch_size", "1", "must be from 8 to 4,096 (images)"),
        ("learning_rate", "nan", "must be a number"),
        ("learning_rate", "inf", "must be a number"),
        ("milestones", "10, x", "must be whole numbers, separated by commas"),
        ("milestones", "20, 10", "milestones are epochs from 1 upwards, rising"),
        ("schedule", "none", "is none of the choices"),
        (
            "architecture",
            "resnet",
            "is no name of an architecture: wrn-28-10, dm-wrn-28-10, "
            "preactresnet-18, resnet-18, vgg-16, timm:resnet18, plugin:my_network are such names",
        ),
        ("milestones", ",".join(map(str, range(1, 12))), "must have at most 10 entries"),
        ("name", " ", "must be given"),
        ("name", 81 * "n", "must have at most 80 characters"),
        ("dataset", "", "must be chosen"),
        ("recipe", "agkd_bml", "this recipe needs one; train a `clean` model first"),
    ],
)
def test_a_wrong_entry_is_named_at_its_field(name: str, entry: str, message: str) -> None:
    at = "teacher" if name == "recipe" else name
    assert _messages(TrainParams, _typed(**{name: entry})) == {at: message}


def test_what_is_left_empty_is_not_of_a_wrong_form() -> None:
    found = _messages(ImportModelParams, {"name": ("x",), "dataset": (" ",)})
    assert found["dataset"] == "must be chosen"


def test_all_wrong_entries_are_named_at_once() -> None:
    found = _messages(TrainParams, _typed(epochs="x", epsilon="99", seed="-1"))
    assert set(found) == {"epochs", "epsilon", "seed"}


def test_rules_of_nested_parameters_name_the_field_of_the_form() -> None:
    entries = {"models": (_ID,), "dataset": (_ID,), "attack.goal": ("class",)}
    assert set(_messages(EvaluateParams, entries)) == {"attack.target_class"}
    none_chosen = {**entries, "models": (), "attack.goal": ("untargeted",)}
    assert _messages(EvaluateParams, none_chosen) == {"models": "must be chosen"}


def test_image_sizes_are_numbers_for_the_contract() -> None:
    assert read(ImportParams, {"name": ("x",), "image_size": ("64",)}).image_size == 64
    wrong = _messages(ImportParams, {"name": ("x",), "image_size": ("48",)})
    assert wrong == {"image_size": "is none of the choices"}


@pytest.mark.parametrize(
    ("field", "at"), [("dataset", "dataset"), ("target_class", "attack.target_class"), (None, "")]
)
def test_what_a_service_refuses_stands_at_the_field(field: str | None, at: str) -> None:
    error = InvalidInput("No.", hint="Choose another.", field=field)
    assert rejected_by_service(EvaluateParams, error).messages == {at: "No. Choose another."}


def _form(params: type[Params] = TrainParams, **given: Any) -> FormView:
    return form_of(params, **{"entries": {}, "offers": {}, **given})


def test_groups_are_closed_until_something_in_them_differs() -> None:
    def open_groups(form: FormView) -> set[str]:
        return {group.title for group in form.groups if not group.basic and group.open}

    assert open_groups(_form()) == set()
    assert open_groups(_form(entries={"momentum": ("0.8",)})) == {"Optimiser"}
    assert open_groups(_form(errors={"epsilon": "no"})) == {"Adversarial examples"}


def test_a_message_without_a_field_is_shown_above() -> None:
    form = _form(errors={"": "Nothing fits."})
    assert form.errors == ("Nothing fits.",)
    assert form.has_errors


def test_a_browser_may_not_drop_what_is_no_number() -> None:
    fields = {f.spec.name: f for f in _form(entries={"epochs": ("ten",)}).fields}
    assert fields["epochs"].input_type == "text"
    assert fields["batch_size"].input_type == "number"


def test_a_single_dataset_is_chosen_already() -> None:
    one = [Choice(_ID, "Pets")]
    two = [*one, Choice(_OTHER_ID, "Ships")]
    for choices, chosen in ((one, (_ID,)), (two, ())):
        offer = Offer(tuple(choices))
        form = _form(offers={"dataset": offer, "teacher": offer})
        entries = {field.spec.name: field.entries for field in form.fields}
        assert entries["dataset"] == chosen
        assert entries["teacher"] == ()


def test_what_is_chosen_and_gone_is_said() -> None:
    offer = Offer((Choice(_ID, "Pets"),))
    form = _form(entries={"teacher": (_OTHER_ID,), "dataset": (_ID,)}, offers={"teacher": offer})
    fields = {field.spec.name: field for field in form.fields}
    assert fields["teacher"].entries == ()
    assert _OTHER_ID[:8] in fields["teacher"].error
    assert fields["dataset"].error
    assert not form.has_errors  # nothing was sent


def test_grids_are_no_choices_that_may_be_gone() -> None:
    lines = ("steps: 3, 7",)
    form = _form(AblationParams, entries={"grid": lines})
    (field,) = (field for field in form.fields if field.spec.name == "grid")
    assert (field.entries, field.error) == (lines, "")
