"""Figures of the robustness board: clean against robust accuracy, and curves laid over another.

A colour is a model, as elsewhere. Filled marks have withstood AutoAttack; open ones have not met
it, so their robust accuracy is an upper bound; crosses are invalid by their verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.board import Board, Entry
from app.contracts.results import Accuracy, Light
from app.contracts.words import percent, with_interval
from app.web.charts import palette
from app.web.charts.base import (
    SHARE_AXIS,
    SYMBOLS,
    Figure,
    Recipes,
    band,
    budget_axis,
    budget_scale,
    figure,
    label,
    line,
    room,
)

_IN_LEGEND = 9
"""Models beyond so many share colours: then who points at a mark is told its name."""


def figures(board: Board, hues: Mapping[str, str]) -> dict[str, Figure]:
    """`board`, and `curves` where there are any, in the hues that `hues` gives the models."""
    drawn = {"board": clean_against_robust(board, hues), "curves": curves(board, hues)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def hues(board: Board, registered: Recipes) -> dict[str, str]:
    """The colour of each model; those that are `registered` go before those that are not."""
    recipes = {**registered, **{e.model: e.recipe for e in board.entries if e.recipe is not None}}
    return palette.colours([entry.model for entry in board.entries], recipes)


def clean_against_robust(board: Board, hues: Mapping[str, str]) -> Figure | None:
    """A mark a model, with both intervals. None where no robust accuracy is known."""
    by_model: dict[str, list[Entry]] = {}
    for entry in board.entries:
        if entry.figures.robust is not None:
            by_model.setdefault(entry.model, []).append(entry)
    if not by_model:
        return None
    told = {"showlegend": len(by_model) <= _IN_LEGEND}
    traces = [_marks(entries, hues[model]) | told for model, entries in by_model.items()]
    ends = _ends(board)
    return figure(
        [*traces, *_reported(board, ends)],
        xaxis={"title": {"text": "Clean accuracy"}, "tickformat": ".0%", "range": ends},
        yaxis={"title": {"text": "Robust accuracy"}, "tickformat": ".0%", "rangemode": "tozero"},
        showlegend=True,
    )  # fmt: skip


def _ends(board: Board) -> tuple[float, float]:
    """Of the axis of clean accuracies: it fits what is there."""
    clean = [entry.figures.clean for entry in board.entries]
    lowest, highest = min(each.low for each in clean), max(each.high for each in clean)
    return max(-0.02, lowest - 0.03), min(1.02, highest + 0.03)


def _marks(entries: Sequence[Entry], hue: str) -> Figure:
    robust = [entry.figures.robust for entry in entries]
    clean = [entry.figures.clean for entry in entries]
    return {
        "type": "scatter", "mode": "markers", "name": label(entries[0].name),
        "x": [each.value for each in clean], "y": [each.value for each in robust if each],
        "marker": {"size": 11, "color": hue, "line": {"width": 2, "color": hue},
                   "symbol": [_symbol(entry) for entry in entries]},
        "error_x": _bars(clean, hue), "error_y": _bars([each for each in robust if each], hue),
        "text": [_said(entry) for entry in entries], "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip


def _symbol(entry: Entry) -> str:
    if entry.light is Light.RED:
        return "x-thin-open"
    return "circle-open" if entry.figures.autoattack is None else "circle"


def _bars(shares: Sequence[Accuracy], hue: str) -> Figure:
    return {
        "type": "data", "symmetric": False, "color": hue, "thickness": 1, "width": 3,
        "array": [each.high - each.value for each in shares],
        "arrayminus": [each.value - each.low for each in shares],
    }  # fmt: skip


def _said(entry: Entry) -> str:
    figures = entry.figures
    rows = [f"<b>{label(entry.name)}</b>", entry.recipe_name or "recipe not known"]
    rows.append(f"clean {with_interval(figures.clean)}")
    if figures.robust is not None:
        rows.append(f"robust {with_interval(figures.robust)}, n = {figures.robust.n:,}")
    rows.append("after AutoAttack" if figures.autoattack else "without AutoAttack: an upper bound")
    if entry.light is Light.RED:
        rows.append("invalid: not to be quoted")
    return "<br>".join(rows)


def _reported(board: Board, ends: tuple[float, float]) -> list[Figure]:
    """A dotted line over the whole chart for each published figure, named at its left end."""
    drawn = []
    for number, each in enumerate(board.reported):
        hue = each.recipe.record.hue
        said = f"reported: {label(each.variant)}, {percent(each.value)}<br>{label(each.label)}"
        drawn.append(line(ends, [each.value] * 2, "Reported elsewhere", hue, dash="dot") | {
            "mode": "lines+text", "text": [f" {label(each.variant)}", ""],
            "textposition": "top right", "textfont": {"size": 10, "color": hue},
            "line": {"color": hue, "width": 1, "dash": "dot"},
            "hovertemplate": f"{said}<extra></extra>",
            "legendgroup": "reported", "showlegend": number == 0,
        })  # fmt: skip
    return drawn


def curves(board: Board, hues: Mapping[str, str]) -> Figure | None:
    """Accuracy against the budget under each evaluation's first attack, with intervals."""
    condition, traces, budgets = board.condition, [], set()
    for number, entry in enumerate(each for each in board.entries if each.curve):
        xs = [budget_scale(condition.norm, point.x) for point in entry.curve]
        shares = [point.accuracy for point in entry.curve]
        hue, group = hues[entry.model], f"{entry.model}-{entry.job}"
        lows, highs = [a.low for a in shares], [a.high for a in shares]
        traces.append(band(xs, lows, highs, hue, group))
        drawn = line(xs, [a.value for a in shares], entry.name, hue, dash="dash")
        symbol = SYMBOLS[number % len(SYMBOLS)]
        traces.append(drawn | {
            "mode": "lines+markers", "legendgroup": group, "text": [label(entry.attacks)] * len(xs),
            "marker": {"symbol": symbol, "size": 7, "color": hue},
            "hovertemplate": "ε = %{x:g}<br>%{y:.1%}<br>%{text}",
        })  # fmt: skip
        budgets |= set(xs)
    if not traces:
        return None
    return figure(
        traces,
        xaxis=budget_axis(condition.norm, sorted(budgets)),
        yaxis={**SHARE_AXIS, "title": {"text": "Accuracy"}},
        **room(len(traces) // 2),
    )
