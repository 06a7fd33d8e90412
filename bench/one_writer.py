"""Workers that are stopped past their lease and wake up when another one has ended their job.

    python -m bench.one_writer [--times 50] [--seed 0]      from the root of the repository

Each time a worker, a process of its own, trains, evaluates or imports with a lease of half a
second. At a random moment it is stopped by SIGSTOP, its lease runs out, another worker takes the
job and ends it, and SIGCONT wakes the first one up. Once that one has ended, every row of the job
and every file that a row names must be what the second worker left.

Who is stopped within a transaction holds SQLite's lock, and nobody can take the job or write at
all until its parent ends it; so it goes on for a millisecond, until it holds none.

PASS: no stale write in all of the times.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, ImportParams, Params, TrainParams
from app.settings import Settings
from app.store import catalogue, jobs, losses
from app.store.db import Database
from app.store.files import Files
from app.store.tables import DatasetRow, EventRow, JobRow, ModelRow
from worker.job_run import engine, run_job
from worker.jobs.context import WorkerLab

LEASE_S = 0.5
_PATIENCE_S = 300.0
_KINDS = (JobKind.TRAIN, JobKind.EVALUATE, JobKind.IMPORT)


def main() -> int:
    """Prints the figures; 0 if nothing stale was written, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, begun = random.Random(options.seed), time.monotonic()
    engine()  # imports torch once; each worker is a fork
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        settings = Settings(data_dir=Path(folder), lease_s=LEASE_S, checkpoint_s=0.001)
        site = Site(settings)
        outcomes = [site.once(number, rng) for number in range(options.times)]
    stale = [what for what in outcomes if what]
    for what in stale:
        print(what)
    print(f"{options.times} times in {time.monotonic() - begun:.0f} s, seed {options.seed}")
    print(f"{'MISS' if stale else 'PASS'} one writer: {len(stale)} stale writes, target 0")
    return 1 if stale else 0


class Site:
    """A data folder, and workers on it that are forks of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        database = self._opened().database
        database.migrate()
        database.close()
        _wait(self._work(self._add(JobKind.IMPORT, ImportParams(name="First", train_per_class=10))))
        self._dataset = self._only(DatasetRow)
        _wait(self._work(self._add(JobKind.TRAIN, self._params(JobKind.TRAIN, "First"))))
        self._model = self._only(ModelRow)

    def _only(self, table: type[DatasetRow] | type[ModelRow]) -> str:
        lab = self._opened()
        with lab.database.reading() as session:
            (found, *_) = session.scalars(select(table.id))
        lab.database.close()
        return found

    def once(self, number: int, rng: random.Random) -> str:
        """One worker too many; what it changed, empty where that is nothing."""
        kind = _KINDS[number % len(_KINDS)]
        job, whole_s = self._stop_within(kind, number, rng)
        while not self._lost(job):
            time.sleep(LEASE_S / 5)
        _wait(self._work(job))
        before = self._left(job)
        os.kill(self._stopped, signal.SIGCONT)
        _wait(self._stopped)
        changed = [name for name, was in before.items() if self._left(job).get(name) != was]
        fine = before["status"] == "succeeded" and not changed
        return "" if fine else f"{kind} after {whole_s:.2f} s: {before['status']}, {changed}"

    def _stop_within(self, kind: JobKind, number: int, rng: random.Random) -> tuple[str, float]:
        """A job whose worker is stopped while it has it, and after how many seconds."""
        for again in range(20):
            name = f"{kind} {number} {again}"
            job = self._add(kind, self._params(kind, name))
            latest_s = 2.0 * 0.8**again  # the job was over before
            self._stopped, after_s = self._work(job), rng.uniform(0.02, latest_s)
            time.sleep(after_s)
            self._stop()
            if self._status(job) == "running":
                return job, after_s
            os.kill(self._stopped, signal.SIGCONT)
            _wait(self._stopped)
        raise SystemExit("no worker could be stopped in its job")

    def _stop(self) -> None:
        lab = self._opened(patience_s=0.05)
        while True:
            os.kill(self._stopped, signal.SIGSTOP)
            try:
                lab.database.writes()
                break
            except OperationalError:
                os.kill(self._stopped, signal.SIGCONT)
                time.sleep(0.001)
        lab.database.close()

    def _params(self, kind: JobKind, name: str) -> Params:
        if kind is JobKind.IMPORT:
            return ImportParams(name=name, train_per_class=40)
        if kind is JobKind.EVALUATE:
            return EvaluateParams(
                models=(self._model,), dataset=self._dataset, images=20, batch_size=10,
                keep_adversarial=10,
            )  # fmt: skip
        return TrainParams(
            name=name, dataset=self._dataset, architecture="wrn-10-1", epochs=1, batch_size=32
        )

    def _work(self, job: str) -> int:
        worker = os.fork()
        if worker == 0:
            torch.set_num_threads(1)
            run_job(self._opened(), job, stopping=lambda: False)
            os._exit(0)
        return worker

    def _opened(self, patience_s: float = 15.0) -> WorkerLab:
        """A connection must not cross a fork."""
        files = Files(self._settings.data_dir)
        files.prepare()
        database = Database(self._settings.sql_url, patience_s=patience_s)
        return WorkerLab(self._settings, database, files, lambda _: None)

    def _add(self, kind: JobKind, params: Params) -> str:
        lab, row = self._opened(), jobs.queued(kind, kind.value, params)
        jobs.add(lab.database, row)
        lab.database.close()
        return row.id

    def _status(self, job: str) -> str:
        return str(self._left(job)["status"])

    def _lost(self, job: str) -> bool:
        lab = self._opened()
        try:
            return job in losses.release_expired(lab.database, lease_s=LEASE_S)
        finally:
            lab.database.close()

    def _left(self, job: str) -> dict[str, Any]:
        """The job's row and events, the rows of what came from it, and all files that rows name."""
        lab = self._opened()
        with lab.database.reading() as session:
            row = session.get_one(JobRow, job)
            found: dict[str, Any] = {"status": row.status, "row": _values(row)}
            for table in (EventRow, DatasetRow, ModelRow):
                of_job = select(table).where(table.job_id == job)
                found[table.__tablename__] = [_values(each) for each in session.scalars(of_job)]
        for path in lab.files.named(catalogue.named_files(lab.database)):
            for file in path.rglob("*") if path.is_dir() else [path]:
                if file.is_file():
                    found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
        lab.database.close()
        return found


def _values(row: Any) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in row.__table__.columns}


def _wait(worker: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while os.waitpid(worker, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            raise SystemExit("a worker does not end")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
