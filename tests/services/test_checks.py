"""What only the store can say about an evaluation: which models may attack, and which are meant."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams
from app.errors import InvalidInput
from app.services import jobs
from app.services.checks import check
from app.services.lab import Lab
from tests.plugins.stock import stock_dataset, stock_model


def refused(lab: Lab, **params: Any) -> tuple[str | None, str]:
    """The field that is named, and what is said."""
    with pytest.raises(InvalidInput) as refusal:
        check(lab, JobKind.EVALUATE, EvaluateParams(**params))
    assert refusal.value.hint
    return refusal.value.field, refusal.value.detail


def test_a_suite_that_fits_is_taken(lab: Lab) -> None:
    dataset, model, other = stock_dataset(lab), stock_model(lab), stock_model(lab, name="Other")
    params = EvaluateParams(
        models=(model, other),
        dataset=dataset,
        further=("autoattack", "transfer", "noise"),
        sources=(model, other),
    )
    assert jobs.submit(lab, JobKind.EVALUATE, params).title == "Evaluate Teacher and Other on Pets"


@pytest.mark.parametrize("further", [(), ("transfer",)])
def test_sources_have_to_exist_and_to_fit(lab: Lab, further: tuple[str, ...]) -> None:
    dataset, model = stock_dataset(lab), stock_model(lab)
    given = {"models": (model,), "dataset": dataset, "further": further}
    assert refused(lab, **given, sources=("0" * 32,))[0] == "sources"
    stranger = stock_model(lab, name="Stranger", classes=("a", "b", "c"))
    assert refused(lab, **given, sources=(stranger,))[0] == "sources"
    large = stock_model(lab, name="Large", image_size=64)
    field, detail = refused(lab, **given, sources=(large,))
    assert (field, "64 pixels" in detail) == ("sources", True)


@pytest.mark.parametrize(
    ("known", "asked", "said"),
    [
        (("cat", "dog"), ("cat", "dog", "fish"), "It lacks fish,"),
        (("cat", "Cat", "dog"), ("Cat", "DOG"), "It lacks Cat, or has several"),
        (("cat", "dog"), ("cat", "Cat", "dog"), "Several classes of the dataset are the same"),
    ],
)
def test_why_a_model_does_not_know_the_classes_is_said(
    lab: Lab, known: tuple[str, ...], asked: tuple[str, ...], said: str
) -> None:
    params = EvaluateParams(
        models=(stock_model(lab, classes=known),), dataset=stock_dataset(lab, classes=asked)
    )
    with pytest.raises(InvalidInput) as refusal:
        check(lab, JobKind.EVALUATE, params)
    assert refusal.value.hint.startswith(said)


def test_a_transfer_comes_from_another_model(lab: Lab) -> None:
    dataset, model, other = stock_dataset(lab), stock_model(lab), stock_model(lab, name="Other")
    given = {"dataset": dataset, "further": ("transfer",)}
    field, detail = refused(lab, models=(model,), sources=(model,), **given)
    assert (field, "“Teacher”" in detail) == ("sources", True)
    for models, sources in [
        ((model,), (other,)), ((model,), (model, other)), ((model, other), (model,)),
    ]:  # fmt: skip
        params = EvaluateParams(models=models, sources=sources, **given)
        assert jobs.submit(lab, JobKind.EVALUATE, params).title.startswith("Evaluate Teacher")


def test_the_target_is_a_class_of_the_dataset(lab: Lab) -> None:
    given = {"models": (stock_model(lab),), "dataset": stock_dataset(lab)}
    attack = {"goal": "class", "target_class": "lion"}
    field, _ = refused(lab, **given, attack=attack)
    assert field == "target_class"
    params = EvaluateParams(**given, attack=attack | {"target_class": "ship"})
    assert jobs.submit(lab, JobKind.EVALUATE, params).title
