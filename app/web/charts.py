"""Every figure, built once here as Plotly JSON; pages, API and reports draw the same.

Solid is clean, dashed is adversarial; `app.web.palette` says who has which colour. Text colour,
grid and ground are left to whoever draws, so that one figure serves light and dark. Names are
outside text, and Plotly reads a little HTML in labels: they are escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.params import Norm, Recipe
from app.contracts.results import CurvePoint, EvaluationResult, ModelFigures
from app.contracts.units import to_255
from app.web import palette

Figure = dict[str, Any]
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
_MAX_TICKS = 10
_SHARE_AXIS = {"tickformat": ".0%", "range": [0, 1.02], "rangemode": "tozero"}


def label(text: str) -> str:
    """Outside text as a Plotly label that shows it letter by letter."""
    return html.escape(text, quote=False)


def figure(traces: Sequence[Mapping[str, Any]], **layout: Any) -> Figure:
    """A figure as plain Plotly JSON; tests have Plotly itself check every kind of it."""
    common = {
        "template": {"layout": {}},
        "margin": {"l": 56, "r": 12, "t": 8, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
    }
    return {"data": [dict(trace) for trace in traces], "layout": {**common, **layout}}


def evaluation(result: EvaluationResult, recipes: Mapping[str, Recipe]) -> dict[str, Figure]:
    """Both curves of an evaluation, those that it has."""
    steps = against_steps(result, recipes)
    figures = {"epsilon": against_epsilon(result, recipes)}
    return figures if steps is None else {**figures, "steps": steps}


def against_epsilon(result: EvaluationResult, recipes: Mapping[str, Recipe]) -> Figure:
    """Accuracy against the budget, one dashed line a model, with its 95 % band."""
    norm = result.params.attack.norm
    scale = to_255 if norm is Norm.LINF else float
    unit = "/255" if norm is Norm.LINF else ""
    hover = f"ε = %{{x:g}}{unit}"
    traces = []
    for model, hue, symbol in _styled(result, recipes):
        points = model.against_epsilon
        traces += _curve(model, points, [scale(p.x) for p in points], hue, symbol, hover)
    title = "Budget ε (L∞, n/255)" if norm is Norm.LINF else "Budget ε (L2)"
    budgets = sorted({scale(p.x) for model in result.models for p in model.against_epsilon})
    few = {"tickvals": budgets} if len(budgets) <= _MAX_TICKS else {}
    return figure(
        traces,
        xaxis={"title": {"text": title}, **few},
        yaxis={"title": {"text": "Accuracy"}, **_SHARE_AXIS},
    )


def against_steps(result: EvaluationResult, recipes: Mapping[str, Recipe]) -> Figure | None:
    """Accuracy against the attack's steps, and each clean accuracy as a solid line.

    None where the evaluation has no such points.
    """
    if not any(model.against_steps for model in result.models):
        return None
    traces = []
    for model, hue, symbol in _styled(result, recipes):
        points = model.against_steps
        xs = [point.x for point in points]
        traces += _curve(model, points, xs, hue, symbol, "%{x:d} steps")
        clean = [model.clean.value] * 2
        traces.append(
            _line([1, max(xs, default=1)], clean, f"{model.name}, clean", hue, dash="solid")
            | {"showlegend": False, "line": {"color": hue, "width": 1}}
        )
    steps = sorted({point.x for model in result.models for point in model.against_steps})
    return figure(
        traces,
        xaxis={"title": {"text": "Attack steps"}, "type": "log", "tickvals": steps,
               "ticktext": [f"{step:g}" for step in steps]},
        yaxis={"title": {"text": "Accuracy"}, **_SHARE_AXIS},
    )  # fmt: skip


def _styled(
    result: EvaluationResult, recipes: Mapping[str, Recipe]
) -> list[tuple[ModelFigures, str, str]]:
    hues = palette.colours([model.model for model in result.models], recipes)
    return [
        (model, hues[model.model], _SYMBOLS[i % len(_SYMBOLS)])
        for i, model in enumerate(result.models)
    ]


def _curve(
    model: ModelFigures,
    points: Sequence[CurvePoint],
    xs: Sequence[float],
    hue: str,
    symbol: str,
    hover: str,
) -> list[Figure]:
    """The band of the intervals, then the line."""
    low = [point.accuracy.low for point in points]
    high = [point.accuracy.high for point in points]
    band = {
        "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": _faint(hue),
        "x": [*xs, *reversed(xs)], "y": [*high, *reversed(low)], "line": {"width": 0},
        "hoverinfo": "skip", "showlegend": False, "legendgroup": model.model,
    }  # fmt: skip
    line = _line(xs, [point.accuracy.value for point in points], model.name, hue, dash="dash")
    line |= {
        "mode": "lines+markers",
        "marker": {"symbol": symbol, "size": 7, "color": hue},
        "legendgroup": model.model,
        "customdata": [[p.accuracy.low, p.accuracy.high, p.accuracy.n] for p in points],
        "hovertemplate": f"{hover}<br>%{{y:.1%}} (%{{customdata[0]:.1%}} to %{{customdata[1]:.1%}})"
        "<br>n = %{customdata[2]:,d}",
    }
    return [band, line]


def _line(
    xs: Sequence[float], ys: Sequence[float | None], name: str, hue: str, *, dash: str
) -> Figure:
    return {
        "type": "scatter", "mode": "lines", "x": list(xs), "y": list(ys), "name": label(name),
        "line": {"color": hue, "width": 2, "dash": dash},
    }  # fmt: skip


def _faint(hue: str) -> str:
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def finite(value: float) -> float | None:
    """What JSON can hold: a gap for NaN and infinity."""
    return value if math.isfinite(value) else None
