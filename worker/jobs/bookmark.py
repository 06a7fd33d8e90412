"""How far an evaluation is, kept so that another attempt goes on from there, figure by figure.

What is kept is whole after every stage of a batch, and goes to the disk as often as a training's
checkpoint does; a worker that is asked to stop writes the last of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.contracts.results import ModelFigures
from worker import registry
from worker.evaluation.measurement import Measurement
from worker.evaluation.progress import Meter
from worker.evaluation.stages import Work
from worker.jobs.context import Interrupted, JobContext
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import LAST, UNREADABLE, Saves, read, write

_START: dict[str, Any] = {"chunk": 0, "model": 0, "work": None, "figures": [], "seconds": 0.0}


class Bookmark:
    """The place in one evaluation. Chunks and models are numbered from 0."""

    def __init__(self, context: JobContext, measured: Sequence[Measurement], meter: Meter) -> None:
        """Where an earlier attempt was; at the start where there was none, or one of another
        version or on another device, whose figures would not be those of one run.
        """
        self._context, self._measured, self._meter = context, measured, meter
        self._saves = Saves(context, SavePace(context.lab.settings.checkpoint_s))
        self._facts = registry.environment(0).model_dump(mode="json")
        self._page = self._begun = self._found() or _START
        for each, state in zip(measured, self._begun.get("models", ()), strict=False):
            each.load(state, registry.device())
        if self._begun is not _START:
            meter.load(self._begun["meter"])
            context.log(f"Going on with batch {self.chunk + 1}, as an earlier attempt left it.")

    @property
    def chunk(self) -> int:
        """The one to go on with."""
        return int(self._begun["chunk"])

    @property
    def seconds(self) -> float:
        """What all attempts took, without what was lost between two of them."""
        return float(self._begun["seconds"]) + self._context.seconds

    @property
    def figures(self) -> list[ModelFigures]:
        """Of the first models, as far as they are known to the end."""
        return [ModelFigures.model_validate_json(text) for text in self._page["figures"]]

    def is_past(self, chunk: int, model: int) -> bool:
        """Whether an earlier attempt was done with a chunk before a model."""
        return (chunk, model) < (self._begun["chunk"], self._begun["model"])

    def work(self, chunk: int, model: int) -> dict[str, Any] | None:
        """What an earlier attempt did of it; None where that is nothing."""
        here = (chunk, model) == (self._begun["chunk"], self._begun["model"])
        work: dict[str, Any] | None = self._begun["work"] if here else None
        return work

    def mark(self, chunk: int, model: int, work: Work) -> None:
        """A stage of a chunk before a model is over. Raises LeaseLost."""
        self._turn(work.kept(), chunk=chunk, model=model)

    def mark_figures(self, figures: ModelFigures) -> None:
        """All is known of the next model. Raises LeaseLost."""
        self._turn(self._page["work"], figures=[*self._page["figures"], figures.model_dump_json()])

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

    def _turn(self, work: dict[str, Any], **place: Any) -> None:
        meter = self._meter.state()
        news = {
            "work": work | {"meter": meter},
            "facts": self._facts,
            "seconds": self.seconds,
            "meter": meter,
            "models": [each.state() for each in self._measured],
        }
        self._page = self._page | place | news
        self._saves.when_due(self._write)

    def _write(self, folder: Path) -> None:
        write(folder / LAST, self._page)

    def _found(self) -> dict[str, Any] | None:
        path = self._saves.latest / LAST
        if not path.exists():
            return None
        try:
            page = read(path)
            if page["facts"] == self._facts:
                return page
        except UNREADABLE:
            pass
        self._context.warn(
            "What an earlier attempt measured is damaged, or of another version of the lab or "
            "another device: the evaluation begins anew."
        )
        return None
