"""What all figures share: plain Plotly JSON, built here once; pages, API and reports draw the same.

Solid is clean, dashed is adversarial; `app.web.charts.palette` says who has which colour. Text
colour, grid and ground are left to whoever draws, so that one figure serves light and dark. Names
are outside text, and Plotly reads a little HTML in labels: they are escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.contracts.params import Norm, Recipe
from app.contracts.results import ModelFigures, ModelSummary
from app.contracts.units import to_255
from app.web.charts import palette

Figure = dict[str, Any]
AnyModel = ModelFigures | ModelSummary
"""Fields are called alike in both, as far as a summary has them."""
M = TypeVar("M", bound=AnyModel)
Recipes = Mapping[str, Recipe]
"""What is known of the models, by id: it decides who is the teacher and who the student."""
SHARE_AXIS = {"tickformat": ".0%", "range": [0, 1.02], "rangemode": "tozero"}
MAX_TICKS = 10
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
"""Of curves and points, one after the other, so that not colour alone tells them apart."""


@dataclass(frozen=True)
class Drawn(Generic[M]):
    """One model as every figure draws it."""

    model: M
    hue: str
    symbol: str

    @property
    def name(self) -> str:
        return label(self.model.name)


def styled(models: Sequence[M], recipes: Recipes) -> list[Drawn[M]]:
    """The models of an evaluation with the colour and the symbol that they keep in all of it."""
    hues = palette.colours([model.model for model in models], recipes)
    return [
        Drawn(model, hues[model.model], SYMBOLS[i % len(SYMBOLS)]) for i, model in enumerate(models)
    ]


def room(models: int) -> Figure:
    """A height that leaves the legend of many models its lines; of few, what the page gives."""
    return {} if models <= 4 else {"height": 320 + 12 * models}


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


def line(
    xs: Sequence[float], ys: Sequence[float | None], name: str, hue: str, *, dash: str
) -> Figure:
    """A line; `name` is outside text."""
    return {
        "type": "scatter", "mode": "lines", "x": list(xs), "y": list(ys), "name": label(name),
        "line": {"color": hue, "width": 2, "dash": dash},
    }  # fmt: skip


def band(
    xs: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    hue: str,
    group: str,
) -> Figure:
    """The area between two lines; it comes and goes with the legend's `group`."""
    return {
        "type": "scatter", "mode": "lines", "fill": "toself", "fillcolor": faint(hue),
        "x": [*xs, *reversed(xs)], "y": [*high, *reversed(low)], "line": {"width": 0},
        "hoverinfo": "skip", "showlegend": False, "legendgroup": group,
    }  # fmt: skip


def faint(hue: str, alpha: float = 0.16) -> str:
    """A hue through which the ground shows."""
    red, green, blue = (int(hue[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def finite(value: float) -> float | None:
    """What JSON can hold: a gap for NaN and infinity."""
    return value if math.isfinite(value) else None


def budget_scale(norm: Norm, epsilon: float) -> float:
    """A budget as its axis shows it: grey levels of 255 for L∞, the length itself otherwise."""
    return to_255(epsilon) if norm is Norm.LINF else epsilon


def budget_axis(norm: Norm, budgets: Sequence[float] = ()) -> Figure:
    """The axis of budgets; few of them, as shown, are its ticks."""
    unit = "L∞, n/255" if norm is Norm.LINF else norm.value.upper()
    ticks = {"tickvals": list(budgets)} if 0 < len(budgets) <= MAX_TICKS else {}
    return {"title": {"text": f"Budget ε ({unit})"}, **ticks}
