"""Now and then, where something happens all the time."""

from __future__ import annotations

from collections.abc import Callable


class Throttle:
    """Says yes the first time that it is asked, and then at most once in `every_s` seconds."""

    def __init__(self, every_s: float, clock: Callable[[], float]) -> None:
        self._every_s, self._clock = every_s, clock
        self._last: float | None = None

    def due(self) -> bool:
        now = self._clock()
        if self._last is not None and now - self._last < self._every_s:
            return False
        self._last = now
        return True
