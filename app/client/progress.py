"""A job's progress for people: a bar on a terminal, lines elsewhere; both on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from tqdm import tqdm

from app.client.terminal import on_one_line
from app.contracts.events import Event, LogEvent, MetricsEvent, ProgressEvent, StateEvent
from app.contracts.words import duration, estimate

_LINES = 10
"""Without a bar, a line for each tenth of the way, and for each phase."""
_BAR = "{percentage:3.0f} % |{bar:20}| {desc}"


@dataclass
class _Known:
    """What the events so far say. `names`: of the models, by id."""

    names: Mapping[str, str]
    done: int = 0
    total: int = 1
    phase: str = "waiting"
    eta_s: float | None = None
    estimates: dict[str, float] = field(default_factory=dict)

    def learn(self, event: Event) -> None:
        match event:
            case StateEvent():
                self.phase, self.eta_s = event.status.value, None
            case ProgressEvent():
                self.done, self.total = event.done, event.total
                self.phase, self.eta_s = event.phase, event.eta_s
            case MetricsEvent(series="estimate"):
                self.estimates.update(event.values)

    def sentence(self) -> str:
        """`PGD, 3 min left, robust: Student 25.7 % (23.8–27.6), preliminary`."""
        left = [] if self.eta_s is None else [f"{duration(self.eta_s)} left"]
        return on_one_line(", ".join([self.phase, *left, *self._robust()]))

    def _robust(self) -> list[str]:
        """The running estimate of every model, with its 95 % band."""
        told = self.estimates
        models = [key.removesuffix(":robust") for key in told if key.endswith(":robust")]
        shown = [
            f"{self.names.get(model, model)} "
            f"{estimate(*(told[f'{model}:{part}'] for part in ('robust', 'low', 'high')))}"
            f"{', preliminary' if told.get(f'{model}:attacks_left') else ''}"
            for model in models
            if {f"{model}:low", f"{model}:high"} <= told.keys()
        ]
        return [f"robust: {', '.join(shown)}"] if shown else []


class _Display(Protocol):
    def update(self, known: _Known) -> None: ...

    def log(self, line: str) -> None: ...

    def close(self) -> None: ...


class _Bar:
    """One line that is drawn over and over."""

    def __init__(self) -> None:
        self._bar = tqdm(file=sys.stderr, total=1, bar_format=_BAR, dynamic_ncols=True)

    def update(self, known: _Known) -> None:
        self._bar.total, self._bar.n = known.total, min(known.done, known.total)
        self._bar.set_description_str(known.sentence())

    def log(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """For logs and files: a line when there is something new to say."""

    def __init__(self) -> None:
        self._said = ("", 0)

    def update(self, known: _Known) -> None:
        news = (known.phase, _LINES * known.done // known.total)
        if news != self._said:
            self._said = news
            self.log(f"{100 * known.done // known.total:3} %  {known.sentence()}")

    def log(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def show(events: Iterable[Event], names: Mapping[str, str]) -> None:
    """Show events until they end. `names`: of the models, by the id that estimates use."""
    known = _Known(names)
    display: _Display = _Bar() if sys.stderr.isatty() else _Lines()
    with closing(display):
        for event in events:
            if isinstance(event, LogEvent):
                display.log(on_one_line(event.text))
            else:
                known.learn(event)
                display.update(known)
