"""Accuracy against what an attack may spend: budget, steps, restarts, queries; and what it needs.

Every curve is dashed, in its model's colour, with the band of its 95 % intervals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from app.contracts.params import Norm
from app.contracts.results import CurvePoint, EvaluationResult, EvaluationSummary, ModelFigures
from app.web.charts.base import (
    MAX_TICKS,
    SHARE_AXIS,
    AnyModel,
    Drawn,
    Figure,
    Recipes,
    band,
    budget_axis,
    budget_scale,
    faint,
    figure,
    line,
    room,
    styled,
)

BINS = 16


def against_epsilon(
    result: EvaluationResult | EvaluationSummary, recipes: Recipes
) -> Figure | None:
    """Accuracy against the budget, one dashed line a model. None without such points."""
    norm = result.params.attack.norm
    models: Sequence[AnyModel] = result.models
    hover = f"ε = %{{x:g}}{'/255' if norm is Norm.LINF else ''}"
    traces = []
    for drawn in styled(models, recipes):
        points = drawn.model.against_epsilon
        traces += _curve(drawn, points, [budget_scale(norm, p.x) for p in points], hover)
    budgets = {budget_scale(norm, p.x) for model in models for p in model.against_epsilon}
    if not budgets:
        return None
    return figure(
        traces,
        xaxis=budget_axis(norm, sorted(budgets)),
        yaxis=_share(),
        **room(len(models)),
    )


def against_steps(result: EvaluationResult | EvaluationSummary, recipes: Recipes) -> Figure | None:
    """Accuracy against the attack's steps, and each clean accuracy as a solid line."""
    points = {model.model: model.against_steps for model in result.models}
    return _counted(result.models, recipes, points, "Attack steps", "%{x:d} steps", "log")


def against_restarts(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """The same against the number of random starts."""
    points = {model.model: model.against_restarts for model in result.models}
    return _counted(result.models, recipes, points, "Random starts", "%{x:d} starts", "linear")


def against_queries(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """The same against the queries that an attack may ask which sees no gradients."""
    points = {model.model: model.against_queries for model in result.models}
    return _counted(result.models, recipes, points, "Queries an image", "%{x:,d} queries", "log")


def minimal_epsilon(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """How many images fall at which budget, of those that are right when clean; at the right end
    those that no budget tried breaks. None where it was not asked for.
    """
    norm = result.params.attack.norm
    found = {
        model.model: [budget_scale(norm, e) for e in needed if e is not None]
        for model in result.models
        if (needed := needed_budgets(model))
    }
    if not found:
        return None
    top = max((max(values) for values in found.values() if values), default=0.0) or 1.0
    width = nice(top / BINS)
    bins = max(1, math.ceil(top / width))
    traces = [
        _histogram(drawn, found[drawn.model.model], width, bins)
        for drawn in styled(result.models, recipes)
        if drawn.model.model in found
    ]
    ticks = range(0, bins, max(1, bins // 4))  # the end has its own, `never`
    axis = budget_axis(norm) | {
        "tickangle": 0,
        "tickvals": [*(width * tick for tick in ticks), width * (bins + 1.5)],
        "ticktext": [*(f"{width * tick:g}" for tick in ticks), "never"],
        "title": {"text": budget_axis(norm)["title"]["text"].replace("Budget", "Minimal")},
    }
    return figure(
        traces,
        barmode="group",
        bargap=0.08,
        xaxis=axis,
        yaxis={"title": {"text": "Images"}, "tickformat": ".0%", "rangemode": "tozero"},
    )


def needed_budgets(model: ModelFigures) -> list[float | None]:
    """The minimal budget of each image that is right when clean; None where nothing breaks it."""
    outcomes = model.outcomes
    if outcomes is None or not outcomes.minimal_epsilon:
        return []
    pairs = zip(outcomes.minimal_epsilon, outcomes.broken_by, strict=True)
    return [epsilon for epsilon, by in pairs if by != 0]


def nice(width: float) -> float:
    """The next width upwards that people count in: 1, 2, 2.5 or 5 of a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= width * (1 - 1e-9))


def _histogram(
    drawn: Drawn[ModelFigures], values: Sequence[float], width: float, bins: int
) -> Figure:
    """Shares of images in `bins` bins from 0, and of those that nothing breaks."""
    # A value at an edge belongs to the bin below; rounding must not push it past the last one.
    found = Counter(min(bins - 1, max(0, math.ceil(v / width) - 1)) for v in values)
    n = len(needed_budgets(drawn.model))
    counts = [*(found[i] for i in range(bins)), n - len(values)]
    spans = [f"{width * i:g} to {width * (i + 1):g}" for i in range(bins)]
    return {
        "type": "bar", "name": drawn.name,
        "x": [*(width * (i + 0.5) for i in range(bins)), width * (bins + 1.5)],
        "y": [count / n for count in counts],
        "marker": {"color": faint(drawn.hue, 0.55), "line": {"color": drawn.hue, "width": 1}},
        "customdata": [
            [span, count] for span, count in zip([*spans, "never broken"], counts, strict=True)
        ],
        "hovertemplate": f"%{{customdata[0]}}<br>%{{y:.1%}} (%{{customdata[1]:,d}} of {n:,d})",
    }  # fmt: skip


def _counted(
    models: Sequence[AnyModel],
    recipes: Recipes,
    points_of: Mapping[str, Sequence[CurvePoint]],
    title: str,
    hover: str,
    kind: str,
) -> Figure | None:
    """A curve over a count, with clean accuracies. None without points."""
    ticks = sorted({point.x for points in points_of.values() for point in points})
    if not ticks:
        return None
    traces = []
    for drawn in styled(models, recipes):
        points = points_of[drawn.model.model]
        traces += _curve(drawn, points, [point.x for point in points], hover)
        traces.append(_clean(drawn, ticks))
    return figure(
        traces,
        xaxis={"title": {"text": title}, "type": kind, "tickangle": 0, **_ticks(ticks, kind)},
        yaxis=_share(),
        **room(len(models)),
    )


def _ticks(counts: Sequence[float], kind: str) -> Figure:
    """Ticks at the points themselves, those that leave one another room."""
    shown: list[float] = []
    for count in counts:
        if not shown or kind == "linear" or count >= 1.9 * shown[-1]:
            shown.append(count)
    if kind == "linear" and len(shown) > MAX_TICKS:
        return {}
    return {"tickvals": shown, "ticktext": [f"{count:,.0f}" for count in shown]}


def _clean(drawn: Drawn[AnyModel], ticks: Sequence[float]) -> Figure:
    clean = [drawn.model.clean.value] * 2
    name = f"{drawn.model.name}, clean"
    trace = line([ticks[0], ticks[-1]], clean, name, drawn.hue, dash="solid")
    return trace | {
        "showlegend": False, "line": {"color": drawn.hue, "width": 1},
        "legendgroup": drawn.model.model, "hovertemplate": "clean<br>%{y:.1%}",
    }  # fmt: skip


def _share() -> Figure:
    return {"title": {"text": "Accuracy"}, **SHARE_AXIS}


def _curve(
    drawn: Drawn[AnyModel], points: Sequence[CurvePoint], xs: Sequence[float], hover: str
) -> list[Figure]:
    """The band of the intervals, then the line."""
    model = drawn.model
    low = [point.accuracy.low for point in points]
    high = [point.accuracy.high for point in points]
    values = [point.accuracy.value for point in points]
    trace = line(xs, values, model.name, drawn.hue, dash="dash")
    trace |= {
        "mode": "lines+markers",
        "marker": {"symbol": drawn.symbol, "size": 7, "color": drawn.hue},
        "legendgroup": model.model,
        "customdata": [[p.accuracy.low, p.accuracy.high, p.accuracy.n] for p in points],
        "hovertemplate": f"{hover}<br>%{{y:.1%}} (%{{customdata[0]:.1%}} to %{{customdata[1]:.1%}})"
        "<br>n = %{customdata[2]:,d}",
    }
    return [band(xs, low, high, drawn.hue, model.model), trace]
