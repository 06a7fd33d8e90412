"""The charts of a running job, from what it reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.contracts.params import EvaluateParams, Recipe
from app.web import charts, palette
from app.web.charts import Figure, Recipes

Event = Mapping[str, Any]
"""The body of an event, as `app.contracts.events` describes it."""

MAX_POINTS = 800
"""Points kept of each line; a screen shows no more."""

_READINGS = ("images_per_s", "learning_rate")
_TERMS = {
    "loss": "Total",
    "classification": "Classification",
    "mart": "MART",
    "agkd": "AGKD",
    "bml": "BML",
}
_SHARES = {
    "train_clean": "Training, clean",
    "train_robust": "Training, adversarial",
    "validation_clean": "Validation, clean",
    "validation_robust": "Validation, adversarial",
}


@dataclass
class Line:
    """One reported number over the steps of a job."""

    xs: list[float] = field(default_factory=list)
    ys: list[float | None] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        self.xs.append(x)
        self.ys.append(charts.finite(y))

    def thinned(self) -> Line:
        """Evenly thinned, with the last point."""
        stride = -(-len(self.xs) // MAX_POINTS)
        chosen = slice((len(self.xs) - 1) % stride if self.xs else None, None, max(1, stride))
        return Line(self.xs[chosen], self.ys[chosen])


def lines_of(events: Sequence[Event]) -> dict[str, Line]:
    """The reported numbers by name. Epochs are placed at the step at which they ended."""
    lines: dict[str, Line] = {}
    step = 0
    for body in events:
        if body["type"] != "metrics":
            continue
        if body["series"] == "step":
            step = body["step"]
        x = step if body["series"] == "epoch" else body["step"]
        for name, value in body["values"].items():
            lines.setdefault(name, Line()).add(x, value)
    return lines


def training_figures(events: Sequence[Event], recipe: Recipe) -> dict[str, Figure]:
    """Loss terms and accuracy over the steps; what has no points yet is left out.

    Each trace carries its number's name in `meta`, so that a page can lengthen it.
    """
    lines = {name: line.thinned() for name, line in lines_of(events).items()}
    own = palette.STUDENT if recipe.is_robust else palette.TEACHER
    shares = {name: line for name, line in lines.items() if name in _SHARES}
    terms = {n: line for n, line in lines.items() if n not in shares and n not in _READINGS}
    figures = {}
    if terms:
        traces = [_term(name, line, i, own) for i, (name, line) in enumerate(terms.items())]
        figures["loss"] = _over_steps(traces, "Loss", {"rangemode": "tozero"})
    if shares:
        axis = {"tickformat": ".0%", "rangemode": "tozero"}
        accuracy = [_share(name, line, own) for name, line in shares.items()]
        figures["accuracy"] = _over_steps(accuracy, "Accuracy", axis)
    return figures


def _over_steps(traces: Sequence[Mapping[str, Any]], title: str, axis: Mapping[str, Any]) -> Figure:
    return charts.figure(
        traces,
        xaxis={"title": {"text": "Training step"}, "rangemode": "tozero"},
        yaxis={"title": {"text": title}, **axis},
        hovermode="x unified",
        uirevision="kept",
    )


def _term(name: str, line: Line, index: int, own: str) -> Figure:
    total = name == "loss"
    hue = own if total else palette.OTHERS[(index - 1) % len(palette.OTHERS)]
    return {
        "type": "scatter", "mode": "lines", "x": line.xs, "y": line.ys, "meta": name,
        "name": charts.label(_TERMS.get(name, name.replace("_", " "))),
        "line": {"color": hue, "width": 2.5 if total else 1.5},
        "hovertemplate": "%{y:.4g}",
    }  # fmt: skip


def _share(name: str, line: Line, own: str) -> Figure:
    dash = "solid" if name.endswith("clean") else "dash"
    trace = {
        "type": "scatter", "mode": "lines", "x": line.xs, "y": line.ys, "meta": name,
        "name": _SHARES[name], "line": {"color": own, "width": 1, "dash": dash}, "opacity": 0.65,
        "hovertemplate": "%{y:.1%}",
    }  # fmt: skip
    if name.startswith("validation"):
        style = {"line": {"color": own, "width": 2.5, "dash": dash}, "opacity": 1}
        trace |= {"mode": "lines+markers", "marker": {"size": 7, "color": own}, **style}
    return trace


def readings(events: Sequence[Event]) -> dict[str, float]:
    """The latest pace and learning rate."""
    found: dict[str, float] = {}
    for body in events:
        if body["type"] == "metrics":
            found |= {k: v for k, v in body["values"].items() if k in _READINGS}
    return found


def evaluation_figures(
    events: Sequence[Event], params: EvaluateParams, names: Mapping[str, str], recipes: Recipes
) -> dict[str, Figure]:
    """`estimate`: what a running evaluation knows after so many images; empty before the first."""
    hues = palette.colours(params.models, recipes)
    lines = lines_of([body for body in events if body.get("series") == "estimate"])
    traces = []
    for model, hue in hues.items():
        name = names.get(model, model[:8])
        clean, robust, low, high = (
            lines.get(f"{model}:{what}", Line()).thinned()
            for what in ("clean", "robust", "low", "high")
        )
        if low.xs and low.xs == high.xs:
            traces.append(charts.band(low.xs, low.ys, high.ys, hue, model))
        if clean.xs:
            traces.append(_known(clean, f"{name}, clean", hue, "solid", model))
        if robust.xs:
            traces.append(_known(robust, name, hue, "dash", model))
    if not traces:
        return {}
    axis = {"title": {"text": "Images measured"}, "rangemode": "tozero"}
    share = {"title": {"text": "Accuracy"}, **charts.SHARE_AXIS}
    return {"estimate": charts.figure(traces, xaxis=axis, yaxis=share, uirevision="kept")}


def _known(line: Line, name: str, hue: str, dash: str, group: str) -> Figure:
    trace = charts.line(line.xs, line.ys, name, hue, dash=dash)
    return trace | {
        "mode": "lines+markers", "marker": {"size": 5, "color": hue}, "legendgroup": group,
        "hovertemplate": "%{x:,d} images<br>%{y:.1%}", "showlegend": dash == "dash",
    }  # fmt: skip
