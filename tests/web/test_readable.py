"""Parameters for people: units where there is something to count, and words where there is not."""

from __future__ import annotations

from typing import Any

from app.contracts.params import EvaluateParams, ImportModelParams, Params
from app.web.forms.readable import readable

MODEL = "1" * 32


def texts(**values: Any) -> dict[str, str]:
    """What is shown beside each label of an evaluation."""
    return shown(EvaluateParams(models=(MODEL,), dataset="2" * 32, **values))


def shown(params: Params) -> dict[str, str]:
    groups = readable(type(params), params.model_dump(mode="json"), {})
    return {row.label: ", ".join(v.name for v in row.values) for g in groups for row in g.rows}


def test_every_number_of_a_list_has_its_unit() -> None:
    said = texts(epsilons=("2/255", "8/255"), step_counts=(1, 10))
    assert (said["Budgets ε"], said["Step counts"]) == ("2/255, 8/255", "1, 10 steps")


def test_an_empty_list_has_none() -> None:
    said = texts(epsilons=(), step_counts=())
    assert (said["Budgets ε"], said["Step counts"]) == ("none", "none")


def test_how_an_address_is_asked_is_said_of_addresses_alone() -> None:
    named: dict[str, Any] = {"name": "Mine", "dataset": "2" * 32}
    labels = {"An image is sent as", "Images of a request", "Budget of a job", "Patience"}
    assert not labels & shown(ImportModelParams(upload="3" * 32, **named)).keys()
    assert labels <= shown(ImportModelParams(address="http://models.example/ask", **named)).keys()
