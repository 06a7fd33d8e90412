"""Figures show the numbers they were given, in the colours and dashes that mean something."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest

from app.contracts.params import Attack, EvaluateParams, Norm, Recipe
from app.contracts.results import Accuracy
from app.web.charts import base as charts
from app.web.charts import curves as curve_charts
from app.web.charts import evaluation as evaluation_charts
from app.web.charts import palette
from app.web.charts import reported as job_charts
from app.web.charts import training as training_charts
from tests.web.examples import evaluation

_TEACHER, _STUDENT = "a" * 32, "b" * 32
_RECIPES = {_TEACHER: Recipe.CLEAN, _STUDENT: Recipe.AGKD_BML}
_HOSTILE = "<b>bold</b> & </script><img src=x>"


def _metrics(series: str, step: int, **values: float) -> dict[str, Any]:
    return {"type": "metrics", "series": series, "step": step, "values": values}


def _drawn(figure: charts.Figure | None) -> charts.Figure:
    assert figure is not None
    return figure


def _lines(figure: charts.Figure) -> dict[str, Any]:
    return {trace["name"]: trace for trace in figure["data"] if "name" in trace}


def test_a_curve_has_its_points_and_the_band_of_their_intervals() -> None:
    result = evaluation([(_TEACHER, "Teacher")])
    band, line = _drawn(curve_charts.against_epsilon(result, _RECIPES))["data"]
    accuracies = [Accuracy.of(count, 200) for count in (150, 90, 30)]
    assert line["x"] == [0, 4, 8]
    assert line["y"] == [accuracy.value for accuracy in accuracies]
    assert line["customdata"] == [[a.low, a.high, 200] for a in accuracies]
    assert band["x"] == [0, 4, 8, 8, 4, 0]
    assert band["y"] == [*(a.high for a in accuracies), *(a.low for a in reversed(accuracies))]


def test_identities_and_dashes() -> None:
    result = evaluation([(_STUDENT, "S"), (_TEACHER, "T")])
    attacked = _lines(_drawn(curve_charts.against_epsilon(result, _RECIPES)))
    assert attacked["S"]["line"] == {"color": palette.STUDENT, "dash": "dash", "width": 2}
    assert attacked["T"]["line"]["color"] == palette.TEACHER
    clean = _lines(_drawn(curve_charts.against_steps(result, _RECIPES)))["S, clean"]
    assert clean["line"]["color"] == palette.STUDENT
    assert clean["line"].get("dash", "solid") == "solid"
    assert clean["y"] == [0.75, 0.75]


def test_an_l2_budget_is_a_length_not_grey_levels() -> None:
    result = evaluation([(_TEACHER, "T")], attack=Attack(norm=Norm.L2))
    _, line = _drawn(curve_charts.against_epsilon(result, _RECIPES))["data"]
    assert line["x"] == pytest.approx([0, 4 / 255, 8 / 255])


def test_an_evaluation_without_steps_has_one_figure() -> None:
    result = evaluation([(_TEACHER, "T")])
    bare = tuple(curve.model_copy(update={"against_steps": ()}) for curve in result.models)
    assert set(evaluation_charts.figures(result, _RECIPES)) == {"epsilon", "steps"}
    assert set(evaluation_charts.figures(result.model_copy(update={"models": bare}), _RECIPES)) == {
        "epsilon"
    }


def test_names_are_shown_letter_by_letter() -> None:
    figure = _drawn(curve_charts.against_epsilon(evaluation([(_TEACHER, _HOSTILE)]), _RECIPES))
    assert list(_lines(figure)) == [
        "&lt;b&gt;bold&lt;/b&gt; &amp; &lt;/script&gt;&lt;img src=x&gt;"
    ]


def test_plotly_knows_every_kind_of_figure() -> None:
    measured = evaluation([(_TEACHER, "Teacher"), (_STUDENT, "Student")])
    losses = [_metrics("step", 10, loss=3.0, bml=0.1, train_robust=0.3)]
    epochs = [_metrics("epoch", 1, validation_clean=0.4)]
    points = [_metrics("estimate", 10, **{f"{_TEACHER}:robust": 0.5})]
    params = EvaluateParams(models=(_TEACHER,), dataset="0" * 32)
    kinds = [
        evaluation_charts.figures(measured, _RECIPES),
        training_charts.training_figures([list(enumerate([*losses, *epochs]))], Recipe.AGKD_BML),
        job_charts.evaluation_figures(points, params, {_TEACHER: "Teacher"}, _RECIPES),
    ]
    for figures in kinds:
        assert figures
        for figure in figures.values():
            go.Figure(figure)  # raises ValueError for what it does not know


def test_a_running_evaluation_shows_its_estimate_with_the_band() -> None:
    params = EvaluateParams(models=(_TEACHER, _STUDENT), dataset="c" * 32)

    def after(images: int, robust: float) -> dict[str, Any]:
        low, high = max(0.0, robust - 0.1), robust + 0.1
        told = {"clean": 0.9, "robust": robust, "low": low, "high": high}
        return _metrics("estimate", images, **{f"{_TEACHER}:{k}": v for k, v in told.items()})

    names = {_TEACHER: _HOSTILE}
    events = [after(50, 0.5), after(100, 0.4), _metrics("curve", 0, **{f"{_TEACHER}:robust": 1})]
    figures = job_charts.evaluation_figures(events, params, names, _RECIPES)
    band, clean, robust = figures["estimate"]["data"]
    assert (clean["x"], clean["y"], clean["line"]["dash"]) == ([50, 100], [0.9, 0.9], "solid")
    assert (robust["x"], robust["y"], robust["line"]["dash"]) == ([50, 100], [0.5, 0.4], "dash")
    assert band["x"] == [50, 100, 100, 50]
    assert band["y"] == pytest.approx([0.6, 0.5, 0.3, 0.4])
    assert robust["name"] == charts.label(_HOSTILE)
    assert job_charts.evaluation_figures([], params, names, _RECIPES) == {}
