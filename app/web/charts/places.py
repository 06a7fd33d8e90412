"""Where the steps of a training lie on other axes: in epochs, and in seconds of work."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from app.web.charts.reported import Event, Run, bodies


@dataclass(frozen=True)
class _Scale:
    """Where steps lie on another axis; both lists rise."""

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


@dataclass(frozen=True)
class Places:
    """Both axes of one training."""

    epochs: _Scale
    seconds: _Scale

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Places:
        """By what the runs reported, one after the other."""
        return cls(_epochs(bodies(runs)), _seconds(runs))

    def at(self, steps: Sequence[float]) -> list[list[float]]:
        """Epoch and seconds of each step: the `customdata` of a line."""
        return [[round(self.epochs.at(x), 3), round(self.seconds.at(x), 1)] for x in steps]


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


def _seconds(runs: Sequence[Run]) -> _Scale:
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
