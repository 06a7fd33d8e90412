"""What a running job may do besides its work: read the lab, report, and notice that it must end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, Self, TypeVar

from sqlalchemy.exc import DBAPIError

from app.contracts.events import Event, LogEvent, LogLevel, MetricsEvent, ProgressEvent
from app.contracts.placement import Offer
from app.contracts.results import EvaluationResult, EvaluationSummary, JobResult
from app.errors import StorageAway, trouble
from app.settings import Settings
from app.store import jobs
from app.store.db import Database
from app.store.files import Files
from app.store.jobs import Claim
from app.store.losses import Loss
from worker.jobs.background import Background
from worker.jobs.throttle import Throttle
from worker.offer import facts
from worker.pulse import Pulse

_LOOK_EVERY_S = 0.25
"""How often SQL is asked whether a running job must end."""
_LOOKED_WITHIN_S = 10.0
"""A job does not go on for longer without the answer: it waits for a database that is away."""
_PROGRESS_EVERY_S = 1.0
_AGAIN_AFTER_S = 1.0
STORAGE_PATIENCE_S = 10.0
"""A worker asks a storage that is away for so long before it looks whether its job must end."""
T = TypeVar("T")
P = ParamSpec("P")


class Cancelled(Exception):
    """Someone asked for the job's end."""


class Interrupted(Exception):
    """The worker is being stopped; the job goes back to the queue."""


class AttemptLost(Exception):
    """The attempt ends through no fault of its job, which goes back to the queue."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.log)
        self.loss = loss


@dataclass(frozen=True)
class WorkerLab:
    """The worker's way to SQL, to files and to the bell; opened after the fork, never before."""

    settings: Settings
    database: Database
    files: Files
    ring: Callable[[str], None]
    """Tells followers of a job that its events grew."""
    clock: Callable[[], float] = time.monotonic
    """In seconds, from anywhere."""
    pulse: Pulse = field(default_factory=Pulse)
    """By which the worker's parent, where there is one, sees whether its child lives."""
    offer: Offer = field(default_factory=facts)
    """Which jobs this worker can run, and what it is called."""


@dataclass(frozen=True)
class Outcome:
    """What a finished job leaves: its result, and the rows that make it part of the lab."""

    result: JobResult
    rows: Sequence[Any] = ()
    files: Sequence[Path] = ()
    """What the rows name; it goes where they cannot be written."""
    scratch: Sequence[Path] = ()
    """What the job needed to go on after an interruption; it goes when the success is written."""

    @property
    def summary(self) -> EvaluationSummary | None:
        """What overviews show of it; None where it is no evaluation."""
        found = self.result
        return EvaluationSummary.of(found) if isinstance(found, EvaluationResult) else None


@dataclass
class JobContext:
    """One attempt of one job. Within a `with`, a thread asks and tells SQL: nothing that a step
    calls waits for it (`worker.jobs.background`).
    """

    lab: WorkerLab
    claim: Claim
    stopping: Callable[[], bool]
    """Whether this worker was asked to stop."""

    must_end: ClassVar[Callable[..., bool]] = staticmethod(jobs.cancel_requested)
    """Asks SQL; it and the next two are called until the database takes them."""
    append: ClassVar[Callable[..., None]] = staticmethod(jobs.report)
    forgive: ClassVar[Callable[..., None]] = staticmethod(jobs.forgive)

    def __post_init__(self) -> None:
        self._started = self.lab.clock()
        self._reports = Throttle(_PROGRESS_EVERY_S, self.lab.clock)
        self._first_progress: tuple[float, int] | None = None
        self._all_done = False
        self._got_further = False
        self._looked_at: float | None = None
        self._background = Background(self._write)
        self._lookout = self.lab.database.lookout()
        self.every(_LOOK_EVERY_S, self._look)

    def __enter__(self) -> Self:
        self._background.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._background.end()
        self._lookout.close()

    @property
    def seconds(self) -> float:
        """Since this attempt began."""
        return self.lab.clock() - self._started

    def every(self, seconds: float, ask: Callable[[], None]) -> None:
        """Have something else asked of SQL so often; what it raises, `check` raises."""
        self._background.every(seconds, partial(self._patiently, ask))

    def _look(self) -> None:
        now = self.lab.clock()
        if self.must_end(self._lookout, self.claim):
            raise Cancelled
        self._looked_at = now

    def check(self) -> None:
        """Call at every step, however short: it asks no one, but for the first time.

        Raises Cancelled, Interrupted or LeaseLost when the job must end.
        """
        looked = self._looked_at
        if looked is None or self.lab.clock() - looked > _LOOKED_WITHIN_S:
            self._background.ask_now()
        self._background.check()
        if self.stopping():
            raise Interrupted

    def progress(self, done: int, total: int, phase: str) -> None:
        """Report how far the job is, at most once a second, and check whether it must end."""
        self.check()
        now = self.lab.clock()
        if self._first_progress is None:
            self._first_progress = (now, done)
        is_last = done >= total and not self._all_done
        if not (self._reports.due() or is_last):
            return
        self._all_done = done >= total
        since, before = self._first_progress
        pace = (now - since) / (done - before) if done > before else None
        eta = None if pace is None else round(pace * (total - done), 1)
        self.report(ProgressEvent(done=done, total=total, phase=phase, eta_s=eta))

    def got_further(self) -> None:
        """Say that another attempt would go on from here. Raises LeaseLost."""
        if self.claim.attempt > 1 and not self._got_further:
            self.insist(self.forgive)
            self._got_further = True

    def metrics(
        self,
        series: Literal["step", "epoch", "curve", "estimate"],
        step: int,
        values: dict[str, float],
    ) -> None:
        """A point of the job's charts."""
        self.report(MetricsEvent(series=series, step=step, values=values))

    def log(self, text: str, level: LogLevel = LogLevel.INFO) -> None:
        """A line for people."""
        self.report(LogEvent(level=level, text=text))

    def warn(self, text: str) -> None:
        """A line for people that is a warning."""
        self.log(text, LogLevel.WARNING)

    def report(self, *events: Event) -> None:
        """Append events to the job, soon and in this order. Raises LeaseLost, of those before."""
        self._background.say(events)

    def flush(self) -> None:
        """Wait until all that was reported is written. Raises LeaseLost."""
        self._background.flush()

    def _write(self, events: Sequence[Event]) -> None:
        self._patiently(self.append, self.lab.database, self.claim, events)
        self.lab.ring(self.claim.job_id)

    def store(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what puts files into storage until it is done, however long that is away, or the
        database that names them: as `insist`.

        Raises Cancelled, Interrupted or LeaseLost when the job must end first.
        """
        while True:
            try:
                return call(*args, **kwargs)
            except StorageAway:
                self.check()
            except DBAPIError as error:
                if trouble(error) is None or self.stopping():
                    raise
            time.sleep(_AGAIN_AFTER_S)

    def insist(
        self, call: Callable[Concatenate[Database, Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call it, after all that was reported, until the database takes it. What it raises
        otherwise is raised.
        """
        self.flush()
        return self._patiently(call, self.lab.database, self.claim, *args, **kwargs)

    def _patiently(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Hours of work are worth waiting for a disk that is full, or a file that is locked."""
        while True:
            try:
                return call(*args, **kwargs)
            except DBAPIError as error:
                if trouble(error) is None or self.stopping():
                    raise
            time.sleep(_AGAIN_AFTER_S)
