"""The figures of the first models of an evaluation, kept so that another attempt goes on after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.contracts.results import ModelFigures
from worker.evaluation.progress import Meter
from worker.jobs.context import Interrupted, JobContext
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import LAST, UNREADABLE, Saves, read, write


class Concluded:
    """Models of which all is known, in their order."""

    def __init__(self, context: JobContext, facts: str, meter: Meter) -> None:
        """Those of an earlier attempt, where its `facts` were the same; the `meter` is then where
        it was.
        """
        self._context, self._facts, self._since = context, facts, context.seconds
        self._saves = Saves(context, SavePace(context.lab.settings.checkpoint_s), "-figures")
        self._meter, page = meter, self._found()
        if page["figures"]:
            meter.load(page["meter"])
        self._counted = meter.state()
        """After the last of them."""
        self._before = float(page["seconds"])
        self.figures = [ModelFigures.model_validate_json(text) for text in page["figures"]]

    @property
    def seconds(self) -> float:
        """What they took, in all attempts."""
        return self._before + self._context.seconds - self._since

    def add(self, figures: ModelFigures) -> None:
        """All is known of the next model. Raises LeaseLost."""
        self.figures.append(figures)
        self._counted = self._meter.state()
        self._saves.when_due(self._write)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around the work: what a worker that is asked to stop has done so far is not lost."""
        with self._saves.until_sent():
            try:
                yield
            except Interrupted:
                if self.figures:
                    self._saves.now(self._write)
                raise

    def _write(self, folder: Path) -> None:
        texts = [figures.model_dump_json() for figures in self.figures]
        page = {"facts": self._facts, "figures": texts, "seconds": self.seconds}
        write(folder / LAST, page | {"meter": self._counted})

    def _found(self) -> dict[str, Any]:
        try:
            page = read(self._saves.latest / LAST)
            if page["facts"] == self._facts:
                return page
        except FileNotFoundError:
            pass
        except UNREADABLE:
            self._context.warn("What was concluded of models is damaged: it is measured again.")
        return {"figures": [], "seconds": 0.0}
