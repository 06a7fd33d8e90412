"""What a training pays for SQL on another host: a part of `python -m bench.storage`.

A training of drawn images runs as a job, in turn with its rows in SQLite and in a PostgreSQL of
this machine that is reached through `bench.proxy`, by which everything takes half of the delay each
way. What is measured is the time in all that the training calls to ask or to tell SQL, and what
other threads of its process take of the processor meanwhile: in the length of a step the other work
of a machine would hide both.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import torch
from sqlalchemy import URL, make_url

from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams, Params, TrainParams
from app.settings import Settings
from app.store import catalogue, jobs
from app.store.db import Database
from app.store.files import Files
from bench.checkpoints import EVERY_S
from bench.lab_process import free_port
from bench.proxy import Proxy
from tests.plugins.postgresql import cluster
from worker import job_run
from worker.jobs.context import JobContext, WorkerLab

T = TypeVar("T")
_SAVES_EVERY_S = 10.0
"""More often than in a lab, so that every training has some: a save waits for what was reported
before it. That counts as once in `EVERY_S`."""


class Share(NamedTuple):
    """Of a training's time."""

    waits: float
    """For what its steps call."""
    works: float
    """What other threads of its process take of a core."""
    step_s: float

    @property
    def both(self) -> float:
        return self.waits + self.works


class _Timed(JobContext):
    """Of the steps between the first progress and the last one."""

    last: _Timed

    def __post_init__(self) -> None:
        super().__post_init__()
        _Timed.last = self
        self._inside, self._waited, self._at_saves = False, 0.0, 0.0
        self.marks: list[tuple[float, float, float, float]] = []
        """After each step: of the clock, waited, of the training's thread, of all threads."""

    def _timed(self, call: Callable[[], T]) -> T:
        if self._inside:
            return call()
        self._inside, begin = True, time.perf_counter()
        try:
            return call()
        finally:
            self._waited += time.perf_counter() - begin
            self._inside = False

    def progress(self, done: int, total: int, phase: str) -> None:
        self._timed(lambda: super(_Timed, self).progress(done, total, phase))
        waited = self._waited + self._at_saves * _SAVES_EVERY_S / EVERY_S
        self.marks.append((time.perf_counter(), waited, time.thread_time(), time.process_time()))

    def check(self) -> None:
        self._timed(super().check)

    def report(self, *events: Any) -> None:
        self._timed(lambda: super(_Timed, self).report(*events))

    def flush(self) -> None:
        begin = time.perf_counter()
        super().flush()
        self._at_saves += time.perf_counter() - begin

    def insist(self, *call: Any, **values: Any) -> Any:
        return self._timed(lambda: super(_Timed, self).insist(*call, **values))

    def trained_s(self) -> float:
        return time.perf_counter() - self.marks[1][0] if len(self.marks) > 2 else 0.0

    def share(self) -> Share:
        first, last = self.marks[1], self.marks[-1]
        clock, waited, own, every = (b - a for a, b in zip(first, last, strict=True))
        return Share(waited / clock, (every - own) / clock, clock / (len(self.marks) - 2))


def measured(delay_s: float, seconds: float, rounds: int) -> tuple[list[Share], list[Share]]:
    """A training's share with SQLite, and with PostgreSQL so far away, by round."""
    torch.set_num_threads(1)
    near, far = list[Share](), list[Share]()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        cluster() as server,
        server.migrated() as url,
        _relayed(make_url(url), delay_s / 2) as away,
        mock.patch.object(job_run, "JobContext", _Timed),
    ):
        labs = [_lab(Path(folder, "near"), None), _lab(Path(folder, "far"), away)]
        for _ in range(rounds):
            for lab, found in zip(labs, (near, far), strict=True):
                found.append(_trained(lab, seconds))
        for lab in labs:
            lab.database.close()
    return near, far


def said(shares: list[Share]) -> str:
    """Medians, and from where to where."""
    waits, works, steps = ([getattr(each, name) for each in shares] for name in Share._fields)
    return (
        f"waits {statistics.median(waits):.3%} ({min(waits):.3%} to {max(waits):.3%}), other "
        f"threads work {statistics.median(works):.3%} ({min(works):.3%} to {max(works):.3%}), n = "
        f"{len(shares)}, steps of {1000 * statistics.median(steps):.0f} ms"
    )


def _lab(folder: Path, url: str | None) -> WorkerLab:
    facts = Settings(data_dir=folder, database_url=url, checkpoint_s=_SAVES_EVERY_S)
    files, database = Files(folder), Database(facts.sql_url, patience_s=60)
    files.prepare()
    database.migrate()
    lab = WorkerLab(facts, database, files, lambda _: None)
    _run(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=100))
    return lab


def _trained(lab: WorkerLab, seconds: float) -> Share:
    dataset = catalogue.datasets(lab.database)[0].id
    params = TrainParams(
        name=f"Net {time.time()}", dataset=dataset, architecture="wrn-10-2", batch_size=32,
        epochs=1000, recipe="pgd_at", steps=2,
    )  # fmt: skip
    job_id = _run(lab, JobKind.TRAIN, params, lambda: _Timed.last.trained_s() > seconds)
    jobs.request_cancel(lab.database, job_id)
    return _Timed.last.share()


def _run(
    lab: WorkerLab, kind: JobKind, params: Params, stopping: Callable[[], bool] = lambda: False
) -> str:
    row = jobs.queued(kind, kind, params)
    jobs.add(lab.database, row)
    job_run.run_job(lab, row.id, stopping=stopping)
    return row.id


@contextmanager
def _relayed(url: URL, late_s: float) -> Iterator[str]:
    """Another URL of a database with a Unix socket, by which everything takes so much longer each
    way. The relay is a process of its own, so that what it does is not counted."""
    port, socket = free_port(), f"{url.query['host']}/.s.PGSQL.5432"
    child = os.fork()
    if child == 0:
        Proxy(port, socket).late(late_s)
        while True:
            signal.pause()
    try:
        yield f"postgresql://{url.username}@127.0.0.1:{port}/{url.database}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
