"""Where models look and where examples lie: attention under attack, and the feature view."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.results import EmbeddingView, EvaluationResult, ModelFigures, Projection
from app.web.charts.base import Drawn, Figure, Recipes, faint, figure, label, styled
from app.web.charts.palette import CLASSES

_SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
_ROLES = (
    ("clean", "circle"), ("forward", "triangle-up-open"), ("backward", "triangle-down-open"),
)  # fmt: skip
"""The parts of an embedding view, with their symbols."""
MAX_LEGEND = 20


def attention(result: EvaluationResult, recipes: Recipes) -> Figure | None:
    """L1 distance of each image's map to the reference's: clean, and under attack by whether the
    attack changed the prediction. Boxes hold the middle half, whiskers nine tenths.
    """
    drawn = [one for one in styled(result.models, recipes) if one.model.attention is not None]
    if not drawn:
        return None
    rows = ("clean", "attacked,<br>kept", "attacked,<br>flipped")
    traces = []
    for one in drawn:
        traces += _boxes(one, rows)
    return figure(
        traces,
        boxmode="group",
        height=120 + 3 * max(54, 30 * len(drawn)),
        margin={"l": 12, "r": 16, "t": 8, "b": 44},
        xaxis={"title": {"text": "L1 distance"},
               "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "categoryarray": list(rows), "categoryorder": "array"},
    )  # fmt: skip


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """The 5, 25, 50, 75 and 95 % quantiles, between neighbours linear."""
    ordered, last = sorted(values), len(values) - 1
    found = []
    for share in _SPREAD:
        at = share * last
        low = int(at)
        high = min(low + 1, last)
        found.append(ordered[low] + (ordered[high] - ordered[low]) * (at - low))
    return tuple(found)


def _boxes(one: Drawn[ModelFigures], rows: Sequence[str]) -> list[Figure]:
    """A box for each row that has images; the clean one is filled, the attacked ones are not."""
    figures = one.model.attention
    assert figures is not None
    pairs = list(zip(figures.adversarial_l1, figures.flipped, strict=True))
    groups = (
        figures.clean_l1,
        [value for value, flipped in pairs if not flipped],
        [value for value, flipped in pairs if flipped],
    )
    traces: list[Figure] = []
    for row, values in zip(rows, groups, strict=True):
        if not values:
            continue
        low, q1, median, q3, high = quantiles(values)
        traces.append(
            {
                "type": "box", "orientation": "h", "name": one.name, "y": [row],
                "lowerfence": [low], "q1": [q1], "median": [median], "q3": [q3],
                "upperfence": [high], "offsetgroup": one.model.model,
                "legendgroup": one.model.model, "showlegend": not traces,
                "line": {"color": one.hue, "width": 1.5},
                "fillcolor": faint(one.hue, 0.45 if row == rows[0] else 0.0),
                "hoverinfo": "x", "xhoverformat": ".3f",
            }
        )  # fmt: skip
    return traces


def embedding(model: ModelFigures, projection: Projection, classes: Sequence[str]) -> Figure:
    """Each image as clean, forward and backward example, joined by a thin line.

    Coloured by the true class, which of a backward example is the most confusing class y'.
    """
    view = model.embedding
    assert view is not None
    shown = sorted({*view.classes, *view.confusing})
    traces = [_threads(projection, len(view.classes))]
    for i, k in enumerate(shown):
        hue = CLASSES[i % len(CLASSES)]
        parts = [_examples(view, projection, part, k, hue, classes) for part in range(3)]
        # A class may have no clean example here, so its entry in the legend stands for itself.
        key = parts[0] | {"x": [None], "y": [None], "customdata": [None]}
        traces += [part | {"showlegend": False} for part in parts]
        traces.append(key | {"showlegend": len(shown) <= MAX_LEGEND})
    bare = {
        "showticklabels": False,
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "ticks": "",
    }
    return figure(
        traces,
        margin={"l": 12, "r": 12, "t": 8, "b": 12},
        xaxis={**bare, "constrain": "domain"},
        yaxis={**bare, "scaleanchor": "x", "constrain": "domain"},
    )


def _examples(
    view: EmbeddingView,
    projection: Projection,
    part: int,
    k: int,
    hue: str,
    classes: Sequence[str],
) -> Figure:
    """The clean, forward or backward examples whose true class is k."""
    role, symbol = _ROLES[part]
    true = view.confusing if role == "backward" else view.classes
    other = view.classes if role == "backward" else view.confusing
    members = [i for i, of in enumerate(true) if of == k]
    at = [part * len(true) + i for i in members]
    says = "made to look like" if role == "backward" else "most confusing:"
    return {
        "type": "scatter", "mode": "markers", "name": label(classes[k]), "legendgroup": str(k),
        "x": [round(projection.x[i], 4) for i in at], "y": [round(projection.y[i], 4) for i in at],
        "marker": {"symbol": symbol, "size": 8, "color": hue, "line": {"width": 1.5 * (part > 0)}},
        "customdata": [label(classes[other[i]]) for i in members],
        "hovertemplate": f"{label(classes[k])}, {role}<br>{says} %{{customdata}}<extra></extra>",
    }  # fmt: skip


def _threads(projection: Projection, count: int) -> Figure:
    """From each forward example through the clean image to the backward one."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for i in range(count):
        for part in (1, 0, 2):
            xs.append(round(projection.x[part * count + i], 4))
            ys.append(round(projection.y[part * count + i], 4))
        xs.append(None)
        ys.append(None)
    return {
        "type": "scatter", "mode": "lines", "x": xs, "y": ys, "hoverinfo": "skip",
        "showlegend": False, "line": {"color": "rgba(128,136,144,0.35)", "width": 0.8},
    }  # fmt: skip
