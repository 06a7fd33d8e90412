"""Figures by class and by corruption: what holds, what falls, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.results import Accuracy, EvaluationResult, ModelFigures
from app.web.charts.base import Drawn, Figure, Recipes, faint, figure, label, styled

MAX_ROWS = 20
"""Classes that the chart shows; of more, those with the lowest robust accuracy."""
MAX_TICKS = 20
"""Classes that fit beside a confusion matrix by name."""
_SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def per_class(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """Clean (filled) and worst case (hollow) of each class, joined by a line."""
    shown = weakest(result)
    if not shown:
        return None
    drawn = [one for one in styled(result.models, recipes) if one.model.per_class]
    offsets = _offsets(len(drawn))
    traces = []
    for one, offset in zip(drawn, offsets, strict=True):
        pairs = [(one.model.per_class[k].clean, one.model.per_class[k].robust) for k in shown]
        traces += _dumbbells(one, pairs, offset)
    names = [f"{label(result.classes[k])} ({_images(result, k):,})" for k in shown]
    return _rows(traces, names, len(drawn))


def _images(result: EvaluationResult, k: int) -> int:
    """How many images of a class were measured."""
    clean = (model.per_class[k].clean for model in result.models if model.per_class)
    return max((accuracy.n for accuracy in clean if accuracy is not None), default=0)


def weakest(result: EvaluationResult) -> list[int]:
    """The classes to show, in their order; of many, those whose models fall deepest."""
    found = [model.per_class for model in result.models if model.per_class]
    if not found:
        return []

    def fallen(k: int) -> float:
        values = [robust.value for f in found if (robust := f[k].robust) is not None]
        return sum(values) / len(values) if values else 2.0

    return sorted(sorted(range(len(result.classes)), key=fallen)[:MAX_ROWS])


def corruptions(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """Accuracy on each corruption, from the weakest severity to the strongest."""
    drawn = [one for one in styled(result.models, recipes) if one.model.corruptions]
    names = list(dict.fromkeys(c.name for one in drawn for c in one.model.corruptions))
    if not names:
        return None
    traces = []
    for one, offset in zip(drawn, _offsets(len(drawn)), strict=True):
        traces += _severities(one, names, offset)
    return _rows(traces, [name.replace("_", " ") for name in names], len(drawn))


def confusion(model: ModelFigures, hue: str, classes: Sequence[str], *, robust: bool) -> Figure:
    """Of each true class (row), the share that is given each class (column).

    Colours rise with the square root of the share, so that rare confusions are seen too.
    """
    counts = model.confusion_robust if robust else model.confusion_clean
    totals = [max(1, sum(row)) for row in counts]
    names = [label(name) for name in classes]
    few = len(names) <= MAX_TICKS
    axis = {
        "type": "category", "showticklabels": few, "showgrid": False, "zeroline": False,
        "constrain": "domain", "ticks": "",
    }  # fmt: skip
    trace = {
        "type": "heatmap", "x": names, "y": names, "customdata": [list(row) for row in counts],
        "z": [[round(n / of, 4) for n in row] for row, of in zip(counts, totals, strict=True)],
        "zmin": 0, "zmax": 1, "xgap": 1 if few else 0, "ygap": 1 if few else 0,
        "colorscale": _ramp(hue), "colorbar": {"tickformat": ".0%", "thickness": 10, "len": 0.7},
        "hovertemplate": "%{y} given as %{x}<br>%{z:.1%} (%{customdata:,d} images)<extra></extra>",
    }  # fmt: skip
    return figure(
        [trace],
        margin={"l": 12, "r": 8, "t": 8, "b": 12},
        xaxis={"title": {"text": "Given class"}, "tickangle": -45, **axis},
        yaxis={
            "title": {"text": "True class"},
            "autorange": "reversed",
            "scaleanchor": "x",
            **axis,
        },
    )


def _ramp(hue: str) -> list[list[float | str]]:
    """From nothing to the hue: the ground shows through, light or dark."""
    return [[share, faint(hue, share**0.5)] for share in _SHARES]


def _offsets(count: int) -> list[float]:
    """Places of several models within one row."""
    return [0.6 * ((i + 0.5) / count - 0.5) for i in range(count)]


def _rows(traces: Sequence[Figure], names: Sequence[str], models: int) -> Figure:
    return figure(
        traces,
        height=90 + len(names) * max(26, 13 * models),
        margin={"l": 12, "r": 16, "t": 8, "b": 44},
        xaxis={"title": {"text": "Accuracy"}, "tickformat": ".0%", "range": [-0.02, 1.02]},
        yaxis={"tickvals": list(range(len(names))), "ticktext": list(names),
               "range": [len(names) - 0.4, -0.6], "zeroline": False},
    )  # fmt: skip


def _dumbbells(
    one: Drawn[ModelFigures],
    pairs: Sequence[tuple[Accuracy | None, Accuracy | None]],
    offset: float,
) -> list[Figure]:
    ys = [row + offset for row in range(len(pairs))]
    joined_x: list[float | None] = []
    joined_y: list[float | None] = []
    for y, (clean, robust) in zip(ys, pairs, strict=True):
        if clean is not None and robust is not None:
            joined_x += [clean.value, robust.value, None]
            joined_y += [y, y, None]
    line = {
        "type": "scatter", "mode": "lines", "x": joined_x, "y": joined_y, "hoverinfo": "skip",
        "line": {"color": one.hue, "width": 1.5}, "legendgroup": one.model.model,
        "showlegend": False,
    }  # fmt: skip
    ends = [
        _dots(one, [pair[0] for pair in pairs], ys, "clean", one.symbol, one.name),
        _dots(one, [pair[1] for pair in pairs], ys, "worst case", f"{one.symbol}-open", ""),
    ]
    return [line, *ends]


def _dots(
    one: Drawn[ModelFigures],
    values: Sequence[Accuracy | None],
    ys: Sequence[float],
    what: str,
    symbol: str,
    name: str,
) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "y": list(ys), "name": name or one.name,
        "x": [None if value is None else value.value for value in values],
        "marker": {"symbol": symbol, "size": 8, "color": one.hue,
                   "line": {"width": 1.5, "color": one.hue}},
        "legendgroup": one.model.model, "showlegend": bool(name),
        "customdata": [None if v is None else [v.low, v.high, v.n] for v in values],
        "hovertemplate": f"{what}<br>%{{x:.1%}} (%{{customdata[0]:.1%}} to "
        "%{customdata[1]:.1%})<br>n = %{customdata[2]:,d}",
    }  # fmt: skip


def _severities(one: Drawn[ModelFigures], names: Sequence[str], offset: float) -> list[Figure]:
    """Dots that grow with the severity, on the line of their corruption; clean is the first."""
    traces: list[Figure] = []
    clean = (0, one.model.clean)
    for row, name in enumerate(names):
        found = [(c.severity, c.accuracy) for c in one.model.corruptions if c.name == name]
        steps = [clean, *sorted(found, key=lambda step: step[0])]
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": one.name,
                "x": [accuracy.value for _, accuracy in steps], "y": [row + offset] * len(steps),
                "line": {"color": one.hue, "width": 1},
                "marker": {"symbol": one.symbol, "color": one.hue, "line": {"width": 0},
                           "opacity": 1, "size": [3 + 1.4 * severity for severity, _ in steps]},
                "legendgroup": one.model.model, "showlegend": row == 0,
                "customdata": [
                    [f"severity {s}" if s else "clean", a.low, a.high, a.n] for s, a in steps
                ],
                "hovertemplate": "%{customdata[0]}<br>%{x:.1%} (%{customdata[1]:.1%} to "
                "%{customdata[2]:.1%})<br>n = %{customdata[3]:,d}",
            }
        )  # fmt: skip
    return traces
