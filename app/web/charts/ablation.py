"""An ablation drawn: a point for each seed, so that a mean hides nothing."""

from __future__ import annotations

from typing import Any

from app.contracts.results import AblationTable, Column, Measure, Spread
from app.web.charts import base as charts
from app.web.charts.base import Figure

_SYMBOLS = {
    Measure.CLEAN: "circle",
    Measure.VALIDATION_CLEAN: "circle",
    Measure.FGSM: "triangle-up-open",
    Measure.PGD: "square-open",
    Measure.VALIDATION_PGD: "square-open",
    Measure.CW: "diamond-open",
    Measure.AUTOATTACK: "star-open",
}
_OF_VALIDATION = (Measure.VALIDATION_CLEAN, Measure.VALIDATION_PGD)
_NEUTRAL = "#7a7f87"
_LINE, _ROW = 17, 16
"""Pixels of a measure of a row, and of the room between rows."""
_LABEL = 26
"""Characters of a label that fit before a line break."""


def every_seed(table: AblationTable) -> Figure | None:
    """Accuracy of every seed, rows downwards, each measure on a line of its own; None before the
    first figure.

    A short upright line is the mean. Filled is clean, open is adversarial. Validation figures are
    drawn only where nothing was measured on test images.
    """
    columns = _drawn(table)
    traces = [trace for column in columns for trace in _points(table, columns, column)]
    shown = [x for trace in traces for x in trace["x"] if x is not None]
    if not shown:
        return None
    middles = [_y(row, (len(columns) - 1) / 2, len(columns)) for row in range(len(table.rows))]
    heights = len(table.rows) * (_LINE * len(columns) + _ROW)
    return charts.figure(
        traces,
        height=110 + heights,
        margin={"l": 12, "r": 16, "t": 8, "b": 44},
        xaxis={
            "title": {"text": "Accuracy"}, "tickformat": ".0%", "zeroline": False,
            "range": [-0.015, 1.05 * max(shown) + 0.01],
        },
        yaxis={
            "tickvals": middles, "ticktext": [_wrapped(row.label) for row in table.rows],
            "range": [_y(len(table.rows), -0.5, len(columns)), -1], "zeroline": False,
            "showgrid": False,
        },
    )  # fmt: skip


def _drawn(table: AblationTable) -> list[Column]:
    known = {measure for row in table.rows for measure in row.figures}
    on_tests = [column for column in table.columns if column.measure not in _OF_VALIDATION]
    is_measured = any(column.measure in known for column in on_tests)
    return on_tests if is_measured else [c for c in table.columns if c.measure in _OF_VALIDATION]


def _y(row: int, line: float, lines: int) -> float:
    """Where a line of a row lies, in lines from the top."""
    return row * (lines + _ROW / _LINE) + line


def _points(table: AblationTable, columns: list[Column], column: Column) -> list[dict[str, Any]]:
    number, symbol = columns.index(column), _SYMBOLS[column.measure]
    found = [
        (_y(row, number, len(columns)), one.recipe.record.hue, one.figures[column.measure])
        for row, one in enumerate(table.rows)
        if column.measure in one.figures
    ]
    return [
        _legend(column, symbol),
        _seeds(column, symbol, found),
        _means(column, found),
    ]


def _legend(column: Column, symbol: str) -> dict[str, Any]:
    """The measure's symbol in no recipe's colour."""
    return {
        "type": "scatter", "mode": "markers", "name": charts.label(column.name),
        "x": [None], "y": [None],
        "marker": {"symbol": symbol, "size": 9, "color": _NEUTRAL}, "legendgroup": column.measure,
        "showlegend": True,
    }  # fmt: skip


def _seeds(column: Column, symbol: str, found: list[tuple[float, str, Spread]]) -> dict[str, Any]:
    each = [(y, hue, seed) for y, hue, spread in found for seed in spread.values]
    return {
        "type": "scatter", "mode": "markers", "name": charts.label(column.name),
        "x": [seed.accuracy.value for _, _, seed in each], "y": [y for y, _, _ in each],
        "customdata": [
            [seed.seed, seed.accuracy.low, seed.accuracy.high, seed.accuracy.n]
            for _, _, seed in each
        ],
        "marker": {"symbol": symbol, "size": 9, "color": [hue for _, hue, _ in each],
                   "line": {"width": 1.5, "color": [hue for _, hue, _ in each]}},
        "legendgroup": column.measure, "showlegend": False,
        "hovertemplate": "%{x:.1%}, seed %{customdata[0]}<br>%{customdata[1]:.1%} to "
        "%{customdata[2]:.1%} over %{customdata[3]:,d} images",
    }  # fmt: skip


def _means(column: Column, found: list[tuple[float, str, Spread]]) -> dict[str, Any]:
    several = [(y, hue, spread) for y, hue, spread in found if spread.n > 1]
    return {
        "type": "scatter", "mode": "markers", "name": f"{charts.label(column.name)}, mean",
        "x": [spread.mean for _, _, spread in several], "y": [y for y, _, _ in several],
        "customdata": [[spread.n, spread.std] for _, _, spread in several],
        "marker": {"symbol": "line-ns", "size": 15, "color": [hue for _, hue, _ in several],
                   "line": {"width": 2, "color": [hue for _, hue, _ in several]}},
        "legendgroup": column.measure, "showlegend": False,
        "hovertemplate": "mean %{x:.1%}, standard deviation %{customdata[1]:.1%}<br>"
        "over %{customdata[0]} seeds",
    }  # fmt: skip


def _wrapped(text: str) -> str:
    """A label in lines that leave room for the points on a small screen."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= _LABEL:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(charts.label(line) for line in lines)
