"""Where the steps of a training lie on other axes: in epochs, and in seconds of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.web.charts.reported import Event, Run, bodies


@dataclass(frozen=True)
class _Scale:
    """Where steps lie on another axis; both lists rise."""

    steps: list[float]
    values: list[float]

    def at(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Between two known steps in proportion; before the first and after the last likewise."""
        if not self.steps:
            return steps
        # One that is known alone is in proportion to the beginning.
        known, values = (
            np.asarray(of if len(of) > 1 else [0.0, *of]) for of in (self.steps, self.values)
        )
        i = np.searchsorted(known, steps).clip(1, len(known) - 1)
        (a, b), (u, v) = ((of[i - 1], of[i]) for of in (known, values))
        width = np.where(b == a, 1.0, b - a)
        found: NDArray[np.float64] = np.where(b == a, v, u + (v - u) * (steps - a) / width)
        return found


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
        xs = np.asarray(steps, dtype=np.float64)
        places: list[list[float]] = np.column_stack(
            [self.epochs.at(xs).round(3), self.seconds.at(xs).round(1)]
        ).tolist()
        return places


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
