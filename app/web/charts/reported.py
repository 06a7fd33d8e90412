"""Lines from what a job reported, and the chart of a running evaluation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.contracts.params import EvaluateParams
from app.web.charts import base as charts
from app.web.charts import palette
from app.web.charts.base import Figure, Recipes

Event = Mapping[str, Any]
"""The body of an event, as `app.contracts.events` describes it."""
Run = Sequence[tuple[float, Event]]
"""What one job reported, in order, with the time in seconds."""

MAX_POINTS = 800
"""Points kept of each line; a screen shows no more."""

_READINGS = ("images_per_s", "learning_rate")


def bodies(runs: Sequence[Run]) -> list[Event]:
    """What all runs reported, without the times."""
    return [body for run in runs for _, body in run]


@dataclass
class Line:
    """One reported number over the steps of a job."""

    xs: list[float] = field(default_factory=list)
    ys: list[float | None] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """A point. One that goes back, after a lost worker, takes the place of all from there."""
        kept = bisect_left(self.xs, x)
        del self.xs[kept:], self.ys[kept:]
        self.xs.append(x)
        self.ys.append(charts.finite(y))

    def cut(self, x: float) -> None:
        """Forget what lies at `x` and beyond."""
        kept = [i for i, known in enumerate(self.xs) if known < x]
        self.xs, self.ys = [self.xs[i] for i in kept], [self.ys[i] for i in kept]

    def thinned(self) -> Line:
        """Evenly thinned, with the last point."""
        stride = -(-len(self.xs) // MAX_POINTS)
        chosen = slice((len(self.xs) - 1) % stride if self.xs else None, None, max(1, stride))
        return Line(self.xs[chosen], self.ys[chosen])


def lines_of(events: Sequence[Event]) -> dict[str, Line]:
    """The reported numbers by series and name: `epoch:loss`.

    Epochs are placed at the step at which they ended. A step that goes back follows a lost
    worker: the steps from there on were taken again.
    """
    lines: dict[str, Line] = {}
    step = 0
    for body in events:
        if body["type"] != "metrics":
            continue
        if body["series"] == "step":
            if body["step"] <= step:
                for line in lines.values():
                    line.cut(body["step"])
            step = body["step"]
        x = step if body["series"] == "epoch" else body["step"]
        for name, value in body["values"].items():
            lines.setdefault(f"{body['series']}:{name}", Line()).add(x, value)
    return lines


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
    lines = lines_of(events)
    traces = []
    for model, hue in hues.items():
        name = names.get(model, model[:8])
        clean, robust, low, high = (
            lines.get(f"estimate:{model}:{what}", Line()).thinned()
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
