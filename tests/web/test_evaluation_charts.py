"""Figures of an evaluation show the counts of its result."""

from __future__ import annotations

import json
import math
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult
from app.contracts.units import to_255
from app.web.charts import attention as attention_charts
from app.web.charts import classes as class_charts
from app.web.charts import curves as curve_charts
from app.web.charts import evaluation as evaluation_charts
from app.web.charts import palette
from app.web.charts.base import Figure, label
from app.web.render import TEMPLATES
from tests.web.example_evaluation import STUDENT, TEACHER
from tests.web.examples import evaluation, full_evaluation

_RECIPES = {TEACHER: Recipe.CLEAN, STUDENT: Recipe.AGKD_BML}
_HOSTILE = "<b>bold</b> & </script>"


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    return full_evaluation()


@pytest.fixture(scope="module")
def figures(result: EvaluationResult) -> dict[str, Figure]:
    return evaluation_charts.figures(result, _RECIPES)


def _bare(result: EvaluationResult, **empty: Any) -> EvaluationResult:
    models = tuple(model.model_copy(update=empty) for model in result.models)
    return result.model_copy(update={"models": models})


def test_a_full_result_has_every_figure_and_plotly_knows_them_all(
    figures: dict[str, Figure],
) -> None:
    shared = {"epsilon", "steps", "restarts", "queries", "minimal", "classes", "corruptions",
              "attention"}  # fmt: skip
    own = {"confusion-clean", "confusion-robust", "pca", "tsne"}
    assert set(figures) == shared | {f"{name}-{n}" for name in own for n in (0, 1)}
    for figure in figures.values():
        go.Figure(figure)  # raises ValueError for what it does not know
        json.dumps(figure, allow_nan=False)


def test_the_vendored_library_draws_every_kind_of_trace(figures: dict[str, Figure]) -> None:
    library = (TEMPLATES.parent / "static" / "vendor" / "plotly-cartesian.min.js").read_text()
    kinds = {trace["type"] for figure in figures.values() for trace in figure["data"]}
    assert kinds == {"scatter", "bar", "heatmap", "box"}
    assert [kind for kind in kinds if f'name:"{kind}"' not in library] == []


def test_what_was_not_measured_has_no_figure(result: EvaluationResult) -> None:
    old = evaluation([(TEACHER, "Teacher")])
    assert set(evaluation_charts.figures(old, _RECIPES)) == {"epsilon", "steps"}
    empty = _bare(result, against_epsilon=(), against_steps=(), against_restarts=(),
                  against_queries=(), outcomes=None, per_class=(), confusion_clean=(),
                  confusion_robust=(), corruptions=(), attention=None, embedding=None)  # fmt: skip
    assert evaluation_charts.figures(empty, _RECIPES) == {}


def test_the_histogram_counts_every_image_that_was_right_once(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    bars = figures["minimal"]["data"]
    for bar, model in zip(bars, result.models, strict=True):
        assert model.outcomes is not None
        counts = [count for _, count in bar["customdata"]]
        assert sum(counts) == model.clean.correct
        pairs = zip(model.outcomes.minimal_epsilon, model.outcomes.broken_by, strict=True)
        needed = [epsilon for epsilon, by in pairs if by != 0]
        assert counts[-1] == needed.count(None)
        width = bar["x"][1] - bar["x"][0]
        third = sum(e is not None and 2 * width < to_255(e) <= 3 * width for e in needed)
        assert counts[2] == third
        assert bar["y"] == pytest.approx([count / len(needed) for count in counts])


def test_a_model_that_nothing_breaks_has_a_histogram_too(result: EvaluationResult) -> None:
    outcomes = result.models[0].outcomes
    assert outcomes is not None
    count = len(outcomes.broken_by)
    unbroken = outcomes.model_copy(
        update={"minimal_epsilon": (None,) * count, "broken_by": (-1,) * count}
    )
    figure = curve_charts.minimal_epsilon(_bare(result, outcomes=unbroken), _RECIPES)
    assert figure is not None
    assert figure["data"][0]["y"][-1] == 1


@given(st.floats(1e-6, 1e6))
def test_bins_are_as_wide_as_people_count(width: float) -> None:
    found = curve_charts.nice(width)
    assert width * (1 - 1e-6) <= found <= 2.5 * width
    digits = found / 10 ** math.floor(math.log10(found) + 1e-9)
    assert min(abs(digits - step) for step in (1, 2, 2.5, 5, 10)) < 1e-6


def test_crowded_ticks_are_left_out(figures: dict[str, Figure]) -> None:
    assert figures["queries"]["layout"]["xaxis"]["ticktext"] == [
        "10", "30", "100", "300", "1,000", "3,000",
    ]  # fmt: skip
    assert figures["steps"]["layout"]["xaxis"]["tickvals"] == [1, 2, 5, 10, 20, 50]


def test_classes_are_filled_when_clean_and_hollow_at_worst(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    _, clean, robust = figures["classes"]["data"][3:]
    student = result.models[1]
    assert clean["x"] == [f.clean and f.clean.value for f in student.per_class]
    assert robust["x"] == [f.robust and f.robust.value for f in student.per_class]
    assert (clean["marker"]["symbol"], robust["marker"]["symbol"]) == ("square", "square-open")
    assert clean["marker"]["color"] == palette.STUDENT
    counts = [result.labels.count(k) for k in range(len(result.classes))]
    told = [f"{name} ({n})" for name, n in zip(result.classes, counts, strict=True)]
    assert figures["classes"]["layout"]["yaxis"]["ticktext"] == told


def test_of_a_hundred_classes_the_weakest_are_shown() -> None:
    many = full_evaluation(images=1000, classes=[f"class {i}" for i in range(100)])
    shown = class_charts.weakest(many)
    assert len(shown) == class_charts.MAX_ROWS
    assert shown == sorted(shown)

    def mean(k: int) -> float:
        found = [m.per_class[k].robust for m in many.models]
        values = [accuracy.value for accuracy in found if accuracy is not None]
        return sum(values) / len(values)

    assert max(map(mean, shown)) <= min(mean(k) for k in range(100) if k not in shown)
    matrix = evaluation_charts.figures(many, _RECIPES)["confusion-robust-1"]
    assert matrix["layout"]["xaxis"]["showticklabels"] is False
    assert len(matrix["data"][0]["z"]) == 100


def test_a_row_of_confusion_is_a_share_of_its_class(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    (trace,) = figures["confusion-robust-1"]["data"]
    counts = result.models[1].confusion_robust
    for row, shares, given_as in zip(counts, trace["z"], trace["customdata"], strict=True):
        assert shares == pytest.approx([n / sum(row) for n in row], abs=1e-4)
        assert given_as == list(row)
    assert trace["colorscale"][-1][1].startswith("rgba(212,101,15,")  # the student's orange


def test_a_class_without_images_is_a_gap() -> None:
    few = full_evaluation(images=3)
    figures = evaluation_charts.figures(few, _RECIPES)
    assert None in figures["classes"]["data"][1]["x"]
    for figure in figures.values():
        json.dumps(figure, allow_nan=False)


def test_corruptions_go_from_clean_to_the_strongest(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    first = figures["corruptions"]["data"][0]
    model = result.models[0]
    name = model.corruptions[0].name
    expected = [c.accuracy.value for c in model.corruptions if c.name == name]
    assert first["x"] == [model.clean.value, *expected]
    assert first["marker"]["size"] == sorted(first["marker"]["size"])
    assert figures["corruptions"]["layout"]["yaxis"]["ticktext"][0] == name.replace("_", " ")


def test_boxes_are_quantiles_of_what_was_kept_and_what_flipped(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    attention = result.models[1].attention
    assert attention is not None
    boxes = [t for t in figures["attention"]["data"] if t["name"] == result.models[1].name]
    flipped = sorted(
        value for value, f in zip(attention.adversarial_l1, attention.flipped, strict=True) if f
    )
    below = sum(value < boxes[2]["median"][0] for value in flipped) / len(flipped)
    assert below == pytest.approx(0.5, abs=0.01)
    assert [box["showlegend"] for box in boxes] == [True, False, False]


def test_quantiles_by_hand() -> None:
    assert attention_charts.quantiles([5.0]) == (5, 5, 5, 5, 5)
    assert attention_charts.quantiles([float(n) for n in range(101)]) == pytest.approx(
        (5, 25, 50, 75, 95)
    )


def test_examples_keep_their_class_their_role_and_their_thread(
    result: EvaluationResult, figures: dict[str, Figure]
) -> None:
    view = result.models[0].embedding
    assert view is not None
    count, (pca, _) = len(view.classes), view.projections
    threads, *points = figures["pca-0"]["data"]
    at = 3 * 4  # the fourth image: forward, clean, backward, gap
    assert threads["x"][at : at + 4] == [
        *(round(pca.x[part * count + 3], 4) for part in (1, 0, 2)), None,
    ]  # fmt: skip
    shown = [trace for trace in points if trace["x"] != [None]]
    assert sum(len(trace["x"]) for trace in shown) == 3 * count
    name = result.classes[view.confusing[3]]
    backward = next(
        t for t in shown if t["name"] == name and t["marker"]["symbol"] == "triangle-down-open"
    )
    assert round(pca.x[2 * count + 3], 4) in backward["x"]
    legend = [t["name"] for t in points if t["showlegend"]]
    assert legend == [result.classes[k] for k in sorted({*view.classes, *view.confusing})]


def test_names_are_shown_letter_by_letter_in_every_figure() -> None:
    hostile = full_evaluation(
        [(TEACHER, _HOSTILE, Recipe.CLEAN)], classes=[f"{_HOSTILE}{i}" for i in range(4)]
    )
    for figure in evaluation_charts.figures(hostile, _RECIPES).values():
        text = json.dumps(figure, ensure_ascii=False)
        assert "<b>" not in text
        assert label(_HOSTILE)[:9] in text
