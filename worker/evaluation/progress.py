"""How far an evaluation is, in passes of images through a model, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Meter:
    """Counts towards a total that is worked out before: what every image takes at most.

    Images that leave an attack early make the rest of its share fall due at once, at its end.
    """

    def __init__(self, report: Callable[[int, int, str], None]) -> None:
        """`report` gets units done, units in all and what is being done now."""
        self._total, self._report = 1, report
        self._done, self._within, self._limit, self._phase = 0.0, 0.0, 0.0, ""
        self.made = 0.0
        """Units that were counted, and nothing that fell due."""

    def expect(self, units: float) -> None:
        """So many units there will be in all."""
        self._total = max(1, round(units))

    @contextmanager
    def stage(self, phase: str, units: float) -> Iterator[None]:
        """A part of the work that takes at most so many units."""
        self._phase, self._within, self._limit = phase, 0.0, units
        self.tell()
        yield
        self._done += units
        self._within = self._limit = 0.0

    def count(self, units: float) -> None:
        """Units of the present stage are done."""
        self.made += units
        self._within = min(self._within + units, self._limit)

    def finish(self) -> None:
        """All is done, whatever was left out."""
        self._done, self._within = self._total, 0.0
        self.tell()

    def state(self) -> tuple[float, float]:
        """Between two stages, for `load`."""
        return self._done, self.made

    def load(self, state: tuple[float, float]) -> None:
        """Go on from a `state`."""
        self._done, self.made = state

    def tell(self) -> None:
        """Report how far the work is."""
        done = min(round(self._done + self._within), self._total)
        self._report(done, self._total, self._phase)
