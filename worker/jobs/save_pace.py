"""How often a training run writes its checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAVING = 0.02
"""The share of the time, at most, that goes into checkpoints."""


class SavePace:
    """When a checkpoint is due: `every_s` after the last one, or later where saving takes long.

    A save that took t seconds is followed by t / SAVING seconds without one, so that all saves
    but the last one are paid for, however slow the disk is and however short the epochs are.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wait = every_s
        self._every_s = every_s
        self._since = clock()

    def is_due(self) -> bool:
        return self._clock() - self._since >= self._wait

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around each save."""
        begin = self._clock()
        yield
        self._since = self._clock()
        self._wait = max(self._every_s, (self._since - begin) / SAVING)
