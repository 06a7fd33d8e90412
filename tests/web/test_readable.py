"""Parameters for people: units where there is something to count, and words where there is not."""

from __future__ import annotations

from typing import Any

from app.contracts.params import EvaluateParams
from app.web.forms.readable import readable

MODEL = "1" * 32


def texts(**values: Any) -> dict[str, str]:
    """What is shown beside each label."""
    params = EvaluateParams(models=(MODEL,), dataset="2" * 32, **values).model_dump(mode="json")
    groups = readable(EvaluateParams, params, {})
    return {row.label: ", ".join(v.name for v in row.values) for g in groups for row in g.rows}


def test_every_number_of_a_list_has_its_unit() -> None:
    shown = texts(epsilons=("2/255", "8/255"), step_counts=(1, 10))
    assert (shown["Budgets ε"], shown["Step counts"]) == ("2/255, 8/255", "1, 10 steps")


def test_an_empty_list_has_none() -> None:
    shown = texts(epsilons=(), step_counts=())
    assert (shown["Budgets ε"], shown["Step counts"]) == ("none", "none")
