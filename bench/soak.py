"""`python -m bench.soak`: a lab whose processes are killed while it gets work, and what came of it.

It starts a lab on a folder of its own. One thread submits imports, trainings and evaluations, each
under a key, again until it is taken; meanwhile, and until all are over, one of the lab's processes
after the other is ended by SIGKILL: in each round, in an order by chance, one that serves each
queue (the worker or its child), their template, the web and the broker; and the broker is emptied
(FLUSHALL). Only processes that this lab started are touched.

PASS: there are as many jobs as were submitted, and every one succeeded, with gapless events, one
end, one result that is whole, and no dataset or model twice; and everything was ended while there
were jobs to submit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from bench.lab_process import HURRIED, LabProcess, Process, until

STANDS_STILL_S = 900.0
"""Without a job that is taken on or over, after which nobody waits any longer."""
_FINAL = "('succeeded', 'failed', 'cancelled')"
_FLUSH = "FLUSHALL"
KINDS = ("train", "evaluate", "live", "template", "web", "broker", _FLUSH)
"""What is ended; queues stand for who serves them."""
_SIGNS = {"web": "uvicorn", "broker": "valkey-server"}
_DRAWN = {"source": "shapes", "train_per_class": "20"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 0 if all held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two kills")
    parser.add_argument("--submits", type=float, default=4.0, help="seconds between two")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lab-soak-") as scratch:
        site = Site(Path(scratch, "data"), random.Random(options.seed))
        try:
            site.furnish()
            begin = time.monotonic()
            site.stand(options.jobs, options.every, options.submits)
            seconds = time.monotonic() - begin
        finally:
            site.lab.stop()
        faults = [*site.faults(options.jobs)]
    for fault in faults:
        print(fault)
    print(f"{options.jobs} jobs, {seconds:.0f} s, seed {options.seed}")
    print(f"ended {dict(site.ended)}, of that while jobs were submitted "
          f"{dict(site.ended_meanwhile)}")  # fmt: skip
    good = options.jobs - len({fault.split(":")[0] for fault in faults})
    verdict = "PASS" if not faults else "MISS"
    print(
        f"{verdict} soak: {good} of {options.jobs} jobs ended well, with one result each, target "
        "all"
    )
    return 0 if not faults else 1


class Site:
    """A lab that is tormented."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.lab = LabProcess(folder, **HURRIED)
        self.ended: Counter[str] = Counter()
        self.ended_meanwhile: Counter[str] = Counter()
        """While jobs were submitted."""
        self._folder, self._rng = folder, rng
        self._dataset = self._model = ""
        self._jobs: list[str] = []

    def furnish(self) -> None:
        """What trainings and evaluations begin with."""
        self.lab.ready()
        first = self.lab.post("/api/datasets", data={"name": "First", **_DRAWN})["id"]
        until(lambda: self._is_over(first))
        self._dataset = self.lab.ask("/api/datasets")[0]["id"]
        teacher = self._submit(self._training("Teacher", epochs=1))
        until(lambda: self._is_over(teacher))
        self._model = self.lab.ask("/api/models")["items"][0]["id"]

    def stand(self, jobs: int, every: float, submits: float) -> None:
        """Submit and torment, until all is over or stands still."""
        pace = random.Random(self._rng.random())
        with ThreadPoolExecutor(1) as pool:
            submitted = pool.submit(self._submit_all, jobs, submits, pace)
            self._torment(submitted, every)
            submitted.result()

    def _submit_all(self, jobs: int, submits: float, pace: random.Random) -> None:
        """Trainings and evaluations, and imports for the rest."""
        for number in range(jobs):
            if number % 6 == 0:
                job = self._submit(self._training(f"Net {number}", epochs=8))
            elif number % 6 == 1:
                params = {"models": [self._model], "images": 20, "batch_size": 10}
                job = self._submit(("evaluate", {**params, "dataset": self._dataset}))
            else:
                sent = {"name": f"Shapes {number}", **_DRAWN}
                job = self.lab.post("/api/datasets", data=sent)["id"]
            self._jobs.append(job)
            time.sleep(pace.uniform(0, 2) * submits)

    def _training(self, name: str, epochs: int) -> tuple[str, dict[str, Any]]:
        return "train", {"name": name, "dataset": self._dataset, "architecture": "wrn-10-1",
                         "epochs": epochs, "batch_size": 32}  # fmt: skip

    def _submit(self, job: tuple[str, dict[str, Any]]) -> str:
        kind, params = job
        return str(self.lab.post("/api/jobs", json={"kind": kind, "params": params})["id"])

    def _is_over(self, job: str) -> bool:
        return (self.lab.ask(f"/api/jobs/{job}") or {}).get("status") == "succeeded"

    def _torment(self, submitted: Future[None], every: float) -> None:
        order: list[str] = []
        counted, since = (0, 0), time.monotonic()
        while not submitted.done() or counted[0] > counted[1]:
            time.sleep(self._rng.uniform(0.5, 1.5) * every)
            order = order or self._rng.sample(KINDS, len(KINDS))
            if self._end_one(kind := order.pop()):
                self.ended[kind] += 1
                self.ended_meanwhile[kind] += not submitted.done()
            else:  # it is not there again yet
                order.insert(0, kind)
            if (now := self._counted()) != counted:
                counted, since = now, time.monotonic()
            elif time.monotonic() - since > STANDS_STILL_S:
                return

    def _end_one(self, kind: str) -> bool:
        """Whether there was one."""
        try:
            if kind == _FLUSH:
                self.lab.flush()
                return True
            every = self.lab.processes().items()
            found = sorted(pid for pid, one in every if _kind(one) == kind)
            if found:
                os.kill(self._rng.choice(found), signal.SIGKILL)
            return bool(found)
        except (redis.RedisError, OSError):  # it is down, or gone by now
            return False

    def _counted(self) -> tuple[int, int]:
        """Jobs that there are, and those that are over."""
        over = f"SELECT count(*), sum(status IN {_FINAL}) FROM jobs"
        with closing(sqlite3.connect(self._folder / "lab.sqlite3", timeout=60)) as database:
            every, ended = database.execute(over).fetchone()
        return every, ended

    def faults(self, jobs: int) -> Iterator[str]:
        """What did not hold, by the id of its job."""
        missing = set(KINDS) - {kind for kind, times in self.ended_meanwhile.items() if times}
        if missing:
            yield f"never ended while jobs were submitted: {', '.join(sorted(missing))}"
        with closing(sqlite3.connect(self._folder / "lab.sqlite3")) as database:
            (there,) = database.execute("SELECT count(*) FROM jobs").fetchone()
            if not there - 2 == len(self._jobs) == len(set(self._jobs)) == jobs:
                yield f"{len(self._jobs)} of {jobs} were submitted, {there - 2} jobs are there"
            for job in self._jobs:
                yield from _faults_of(database, self._folder, job)


def _kind(process: Process) -> str:
    """Supervisor and watchdog are of none."""
    found = re.search(r"celeryd: (train|evaluate|live)|worker\.(template)", process.text)
    if found is not None:
        return found[1] or found[2]
    return next((kind for kind, sign in _SIGNS.items() if sign in process.text), "")


def _faults_of(database: sqlite3.Connection, folder: Path, job: str) -> Iterator[str]:
    of_job = "FROM jobs WHERE id = ?"
    status, file, failure, last = database.execute(
        f"SELECT status, result_file, failure, last_event {of_job}", (job,)
    ).fetchone()
    if status != "succeeded":
        yield f"{job}: {status}, {failure}"
        return
    events = database.execute(
        "SELECT seq, type, body FROM job_events WHERE job_id = ? ORDER BY seq", (job,)
    ).fetchall()
    ends = [1 for _, kind, body in events if kind == "state" and "succeeded" in body]
    if len(ends) != 1 or [row[0] for row in events] != [*range(1, last + 1)]:
        yield f"{job}: {len(ends)} ends, {len(events)} of {last} events"
    try:
        json.loads((folder / "results" / file).read_text())
    except (OSError, ValueError) as error:
        yield f"{job}: its result is not whole, {error}"
    for table, most in (("models", 2), ("datasets", 1)):
        query = f"SELECT count(*) FROM {table} WHERE job_id = ?"
        if database.execute(query, (job,)).fetchone()[0] > most:
            yield f"{job}: more {table} than one job leaves"


if __name__ == "__main__":
    sys.exit(main())
