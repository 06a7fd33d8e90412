"""Several trainings laid over one another: accuracy, loss, learning rate, speed.

Each point knows its step, its epoch and its time, so that a page can draw it over any of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.contracts.params import Recipe
from app.web.charts import palette
from app.web.charts.base import Figure, figure, line
from app.web.charts.reported import Event, Line, lines_of

_HUES = (palette.STUDENT, palette.TEACHER, *palette.OTHERS)


@dataclass(frozen=True)
class Shown:
    """A training to be drawn."""

    name: str
    """Outside text."""
    hue: str
    runs: Sequence[Sequence[tuple[float, Event]]]
    """What each of its runs reported, in order, with the time in seconds."""


@dataclass(frozen=True)
class _Scale:
    """Where steps lie on other axes; both lists rise."""

    steps: list[float]
    values: list[float]

    def at(self, step: float) -> float:
        """Between two known steps in proportion; before the first and after the last likewise."""
        if not self.steps:
            return step
        i = min(max(1, bisect_left(self.steps, step)), len(self.steps) - 1)
        if len(self.steps) == 1:
            return self.values[0] * step / self.steps[0] if self.steps[0] else 0.0
        (a, b), (u, v) = self.steps[i - 1 : i + 1], self.values[i - 1 : i + 1]
        return v if b == a else u + (v - u) * (step - a) / (b - a)


def hues(recipes: Sequence[Recipe | None]) -> list[str]:
    """A colour for each training; the first clean one has the teacher's, the first other one the
    student's.
    """
    free, chosen = list(_HUES), []
    for recipe in recipes:
        wished = palette.TEACHER if recipe is Recipe.CLEAN else palette.STUDENT
        hue = wished if wished in free else next((h for h in free if h in palette.OTHERS), free[0])
        free.remove(hue)
        chosen.append(hue)
    return chosen


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
    epochs: _Scale
    seconds: _Scale

    @classmethod
    def of(cls, training: Shown) -> _Drawn:
        bodies = [body for run in training.runs for _, body in run]
        return cls(training, lines_of(bodies), _epochs(bodies), _seconds(training.runs))


def _epochs(events: Sequence[Event]) -> _Scale:
    """Epochs end where their figures are reported."""
    ends: dict[float, float] = {}
    step = 0
    for body in events:
        if body["type"] == "metrics" and body["series"] == "step":
            step = body["step"]
        elif body["type"] == "metrics" and body["series"] == "epoch" and step:
            ends[float(body["step"])] = float(step)
    rising = sorted((step, epoch) for epoch, step in ends.items())
    return _Scale([0.0, *(s for s, _ in rising)], [0.0, *(e for _, e in rising)])


def _seconds(runs: Sequence[Sequence[tuple[float, Event]]]) -> _Scale:
    """Time of work: what lies between two runs does not count, nor what was taken again."""
    known: dict[float, float] = {}
    before = 0.0
    for run in runs:
        start, last = (run[0][0], run[-1][0]) if run else (0.0, 0.0)
        for at, body in run:
            if body["type"] == "metrics" and body["series"] == "step":
                known[float(body["step"])] = before + at - start
        before += last - start
    steps = sorted(known)
    return _Scale(steps, [known[step] for step in steps])


def _figure(drawn: Sequence[_Drawn], title: str, parts: _Parts, **axis: Any) -> Figure | None:
    traces = [
        _trace(one, one.lines[key].thinned(), said, dash)
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


def _trace(of: _Drawn, points: Line, said: str, dash: str) -> Figure:
    name = f"{of.training.name}, {said}" if said else of.training.name
    return line(points.xs, points.ys, name, of.training.hue, dash=dash) | {
        "customdata": [[round(of.epochs.at(x), 3), round(of.seconds.at(x), 1)] for x in points.xs],
        "hovertemplate": "%{y:.1%}" if said else "%{y:.4g}",
    }
