"""How far one part of an evaluation is, kept so that another attempt goes on from there.

What is kept is whole after every piece of a stage, and goes to the disk as often as a training's
checkpoint does; a worker that is asked to stop writes the last of it. When the part is measured,
the last save is what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker import registry
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.evaluation.stages import Work
from worker.jobs.context import Interrupted, JobContext
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import LAST, UNREADABLE, Saves, read, write


def part_of(number: int) -> str:
    """What the folder of a part is called, after the job."""
    return f"-part-{number}"


class Bookmark:
    """The place in one part."""

    def __init__(
        self, context: JobContext, number: int, facts: str, measured: Measurement, meter: Meter
    ) -> None:
        """Where an earlier attempt was; at the start where there was none, or one whose `facts`, a
        digest of its environment, were others: the figures would not be those of one run.
        """
        self._context, self._facts = context, facts
        self._measured, self._meter = measured, meter
        pace = SavePace(context.lab.settings.checkpoint_s)
        self._saves = Saves(context, pace, part_of(number))
        self._begun = self._page = self._found() or {"work": None, "seconds": 0.0}
        if self._begun["work"] is not None:
            measured.load(self._begun["measured"], registry.device())
            meter.load(self._begun["meter"])

    @property
    def work(self) -> Mapping[str, Any] | None:
        """What an earlier attempt did of it; None where that is nothing."""
        work: Mapping[str, Any] | None = self._begun["work"]
        return work

    def mark(self, work: Work) -> None:
        """A piece of a stage is over. Raises LeaseLost."""
        self._turn(work)
        self._saves.when_due(self._write)

    def close(self, work: Work) -> bool:
        """All is over; whether that could be written. Raises LeaseLost."""
        self._turn(work)
        return self._saves.now(self._write)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around the work: what a worker that is asked to stop has done so far is not lost."""
        with self._saves.until_sent():
            try:
                yield
            except Interrupted:
                if self._page is not self._begun:
                    self._saves.now(self._write)
                raise

    def _turn(self, work: Work) -> None:
        meter = self._meter.state()
        self._page = {
            "work": work.kept() | {"meter": meter},
            "facts": self._facts,
            "seconds": float(self._begun["seconds"]) + self._context.seconds,
            "meter": meter,
            "measured": self._measured.state(),
        }

    def _write(self, folder: Path) -> None:
        write(folder / LAST, self._page)

    def _found(self) -> dict[str, Any] | None:
        try:
            path = self._saves.latest / LAST
            if not path.exists():
                return None
            page = read(path)
            if page["facts"] == self._facts:
                return page
        except UNREADABLE:
            pass
        self._context.warn(
            "What an earlier attempt measured is damaged, or of another version of the lab or "
            "another device: this part of the evaluation begins anew."
        )
        return None
