"""Several trainings laid over one another: accuracy, loss, learning rate, speed.

Each point knows its step, its epoch and its time, so that a page can draw it over any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.web.charts.base import Figure, figure, line
from app.web.charts.places import Places
from app.web.charts.reported import Line, Run, bodies, lines_of


@dataclass(frozen=True)
class Shown:
    """A training to be drawn."""

    name: str
    """Outside text."""
    hue: str
    runs: Sequence[Run]
    """The first one first."""


def figures(trainings: Sequence[Shown]) -> dict[str, Figure]:
    """`accuracy`, `loss`, `rate` and `pace`, as far as anything was reported."""
    lines = [_Drawn.of(training) for training in trainings]
    made = {
        "accuracy": _figure(lines, "Accuracy", _ACCURACY, tickformat=".0%"),
        "loss": _figure(lines, "Loss", _LOSS),
        "rate": _figure(lines, "Learning rate", _RATE, rangemode="tozero"),
        "pace": _figure(lines, "Images a second", _PACE, rangemode="tozero"),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}


_Parts = Mapping[str, tuple[str, str]]
_ACCURACY: _Parts = {
    "epoch:validation_clean": ("clean", "solid"),
    "epoch:validation_robust": ("PGD-10", "dash"),
}
_LOSS: _Parts = {"step:loss": ("", "solid")}
_RATE: _Parts = {"step:learning_rate": ("", "solid")}
_PACE: _Parts = {"step:images_per_s": ("", "solid")}


@dataclass(frozen=True)
class _Drawn:
    training: Shown
    lines: dict[str, Line]
    places: Places

    @classmethod
    def of(cls, training: Shown) -> _Drawn:
        return cls(training, lines_of(bodies(training.runs)), Places.of(training.runs))


def _figure(drawn: Sequence[_Drawn], title: str, parts: _Parts, **axis: Any) -> Figure | None:
    traces = [
        _trace(one, key, said, dash)
        for one in drawn
        for key, (said, dash) in parts.items()
        if key in one.lines
    ]
    if not traces:
        return None
    return figure(
        traces,
        xaxis={"title": {"text": "Training step"}, "rangemode": "tozero"},
        yaxis={"title": {"text": title}, **axis},
        hovermode="x unified",
    )


def _trace(of: _Drawn, key: str, said: str, dash: str) -> Figure:
    points = of.lines[key].thinned()
    name = f"{of.training.name}, {said}" if said else of.training.name
    dots = {"mode": "lines+markers", "marker": {"size": 5}} if key.startswith("epoch:") else {}
    return (
        line(points.xs, points.ys, name, of.training.hue, dash=dash)
        | dots
        | {
            "meta": key,
            "customdata": of.places.at(points.xs),
            "hovertemplate": "%{y:.1%}" if said else "%{y:.4g}",
        }
    )
