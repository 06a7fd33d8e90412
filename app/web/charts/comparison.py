"""Figures of a comparison: accuracies side by side, and differences against no difference."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.results import Accuracy, Comparison, PairedTest
from app.web.charts import palette
from app.web.charts.base import SYMBOLS, Figure, Recipes, figure, label

_LONGEST_NAME = 40
_NEUTRAL = "#7a7f87"


def figures(comparison: Comparison, recipes: Recipes) -> dict[str, Figure]:
    """`accuracies` and `differences`."""
    return {
        "accuracies": accuracies(comparison, recipes),
        "differences": differences(comparison),
    }


def hues_of(comparison: Comparison, recipes: Recipes) -> dict[str, str]:
    """The colour of each model, which may stand in several rows."""
    return palette.colours(list(dict.fromkeys(row.model for row in comparison.compared)), recipes)


def accuracies(comparison: Comparison, recipes: Recipes) -> Figure:
    """Each model's clean (filled) and robust (hollow) accuracy with its interval."""
    hues = hues_of(comparison, recipes)
    traces, names = [], []
    for i, row in enumerate(comparison.compared):
        short = row.name if len(row.name) <= _LONGEST_NAME else f"{row.name[:_LONGEST_NAME]}…"
        names.append(_above(i, label(short)))
        for what, accuracy, hollow in (("clean", row.clean, ""), ("robust", row.robust, "-open")):
            symbol = f"{SYMBOLS[i]}{hollow}"
            traces.append(_point(accuracy, i, what, hues[row.model], symbol))
    return figure(
        traces,
        height=100 + 48 * len(names),
        showlegend=False,
        margin={"l": 12, "r": 16, "t": 8, "b": 44},
        annotations=names,
        xaxis={"title": {"text": "Accuracy"}, "tickformat": ".0%", "range": [-0.02, 1.02]},
        yaxis={"tickvals": list(range(len(names))),
               "ticktext": [str(i + 1) for i in range(len(names))],
               "range": [len(names) - 0.4, -0.8], "zeroline": False},
    )  # fmt: skip


def _above(row: int, name: str) -> Figure:
    """A name above its row, where it takes no width from what is drawn."""
    return {
        "text": name, "x": 0, "xref": "paper", "xanchor": "left", "y": row - 0.42, "yref": "y",
        "showarrow": False, "font": {"size": 11},
    }  # fmt: skip


def _point(accuracy: Accuracy, y: int, what: str, hue: str, symbol: str) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "x": [accuracy.value], "y": [y], "name": "",
        "marker": {"symbol": symbol, "size": 10, "color": hue, "line": {"width": 2, "color": hue}},
        "error_x": _bars([accuracy.value], [accuracy.low], [accuracy.high], hue),
        "hovertemplate": f"{what}<br>%{{x:.1%}} ({accuracy.low:.1%} to {accuracy.high:.1%})"
        f"<br>n = {accuracy.n:,}",
    }  # fmt: skip


def _bars(values: Sequence[float], low: Sequence[float], high: Sequence[float], hue: str) -> Figure:
    return {
        "type": "data", "symmetric": False, "color": hue, "thickness": 1.5, "width": 4,
        "array": [h - v for v, h in zip(values, high, strict=True)],
        "arrayminus": [v - bound for v, bound in zip(values, low, strict=True)],
    }  # fmt: skip


def differences(comparison: Comparison) -> Figure:
    """Each pair's difference in points with its interval; filled is clean, hollow is robust."""
    pairs = list(dict.fromkeys((test.first, test.second) for test in comparison.tests))
    rows = {pair: i for i, pair in enumerate(pairs)}
    traces = []
    for quantity, symbol, offset in (("clean", "circle", -0.16), ("robust", "circle-open", 0.16)):
        tests = [test for test in comparison.tests if test.quantity == quantity]
        traces.append(_differences(tests, quantity, symbol, [
            rows[test.first, test.second] + offset for test in tests
        ]))  # fmt: skip
    reach = max(100 * max(abs(test.low), abs(test.high)) for test in comparison.tests) * 1.08
    names = [f"{second + 1} minus {first + 1}" for first, second in pairs]
    return figure(
        traces,
        height=110 + 44 * len(names),
        margin={"l": 12, "r": 16, "t": 8, "b": 44},
        xaxis={"title": {"text": "Difference in points"}, "range": [-reach, reach],
               "zeroline": True, "zerolinewidth": 2},
        yaxis={"tickvals": list(range(len(names))), "ticktext": names,
               "range": [len(names) - 0.4, -0.6], "zeroline": False},
    )  # fmt: skip


def _differences(
    tests: Sequence[PairedTest], name: str, symbol: str, ys: Sequence[float]
) -> Figure:
    values = [100 * test.difference for test in tests]
    return {
        "type": "scatter", "mode": "markers", "x": values, "y": list(ys), "name": name,
        "marker": {"symbol": symbol, "size": 9, "color": _NEUTRAL,
                   "line": {"width": 2, "color": _NEUTRAL}},
        "error_x": _bars(values, [100 * t.low for t in tests], [100 * t.high for t in tests],
                         _NEUTRAL),
        "customdata": [[100 * t.low, 100 * t.high, t.only_first, t.only_second] for t in tests],
        "hovertemplate": "%{x:.1f} points (%{customdata[0]:.1f} to %{customdata[1]:.1f})"
        "<br>right for one alone: %{customdata[2]:,d} and %{customdata[3]:,d} images",
    }  # fmt: skip
