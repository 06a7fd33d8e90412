"""How an evaluation grows faster with workers, and what would stop it at a thousand.

    python -m bench.scaling [--workers 1 2] [--images 400] [--seconds 20]

Measured, one thread each: an evaluation by one worker and by so many, in turns, as many as there
are cores; each is there and waits, as in a lab. Time is that from the job's start to its end. Then
as many evaluations that share nothing, at once: what the machine gives to so many processes that
have nothing to do with each other, which no division can exceed. The load of the machine before
each run is printed: beside other work the figures say little.

Simulated: the same rows and leases with parts that only wait, for workers that there are no cores
for; so the database is real and the work is not. What a worker asks of the database and of the
storage is measured with it, and the limits are reckoned from that. What is assumed is printed as
such.

PASS: two workers evaluate at least 1.9 times as fast as one, and figures are the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any, NamedTuple

import torch

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import PARAMS_OF, EvaluateParams, ImportParams, Params, TrainParams
from app.settings import Settings
from app.store import catalogue, job_queries, jobs, shards
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow
from worker.evaluation.measurement import PIECE_S
from worker.job_run import help_out, load, run_next
from worker.jobs.context import WorkerLab
from worker.memory import keep_freed_memory
from worker.models.blocks import BLOCK

TARGET = 1.9
_EPSILON = 0.1 / 255
"""So small that images stand, and every attack has its whole work to do, whatever the model is."""
SIMULATED = (1, 8, 32, 64)
_PART_S, _NOTES_S, _LEASE_S, _LOOK_S = 1.0, 1.0, 30.0, 0.25
"""Of a simulated part; of a real worker: between two notes of progress, of its lease, between two
looks whether it must end."""
ASSUMED = {
    "writes/s of PostgreSQL on a machine of its own": 5000.0,
    "looks/s of PostgreSQL": 20000.0,
    "MB/s of the storage": 500.0,
    "messages/s of the broker": 10000.0,
}
_RING_S = 0.1
"""Until a worker that waits hears of a job."""
_SAVE_S, _WAKES_S, _PARTS = 60.0, 2.0, 5000
_WORKERS = 1000


class Run(NamedTuple):
    seconds: float
    result: dict[str, Any]


def main() -> int:
    """Prints the figures; 0 if two workers are as fast as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each simulated run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        ratio = measured(Path(scratch, "data"), options.workers, options.images, options.repeats)
        simulated(Path(scratch, "simulated"), options.seconds)
    good = ratio is None or ratio >= TARGET
    said = "not measured" if ratio is None else f"{ratio:.2f} times as fast as one"
    print(f"{'PASS' if good else 'MISS'} scaling: two workers {said}, target {TARGET}")
    return 0 if good else 1


def measured(folder: Path, workers: list[int], images: int, repeats: int) -> float | None:
    """The ratio of median times of one worker and of two; None where these were not asked for."""
    site = Site(folder)
    site.run(ImportParams(name="Shapes", train_per_class=60))
    dataset = catalogue.datasets(site.database)[0].id
    site.run(
        TrainParams(
            name="Student", dataset=dataset, recipe="clean", architecture="wrn-16-2", epochs=4
        )
    )
    rows, _ = catalogue.models(site.database)
    (model,) = (row.id for row in rows if row.name == "Student")
    asked = EvaluateParams(
        models=(model,), dataset=dataset, images=images, batch_size=BLOCK, epsilon=_EPSILON,
        further=("apgd_t", "square"), attention=False,
    )  # fmt: skip
    times: dict[int, list[float]] = {count: [] for count in workers}
    apart: dict[int, list[float]] = {count: [] for count in workers if count > 1}
    results = []
    for _ in range(repeats):
        for count in workers:
            load = os.getloadavg()[0]
            run = site.evaluate(asked, count)
            times[count].append(run.seconds)
            results.append(run.result)
            print(f"{count} workers: {run.seconds:.1f} s (load {load:.1f} before)", flush=True)
            if count > 1:
                apart[count].append(site.apart(asked, count))
    if any(result != results[0] for result in results):
        raise SystemExit("MISS scaling: the figures differ")
    medians = {count: statistics.median(found) for count, found in times.items()}
    for count, median in medians.items():
        print(f"measured: {count} workers {medians[min(medians)] / median:.2f} times as fast")
    if 1 in medians:
        for count, found in apart.items():
            gives = count * medians[1] / statistics.median(found)
            print(f"measured: {count} evaluations at once that share nothing, {gives:.2f} times as "
                  "much as one alone: what this machine gives")  # fmt: skip
    return medians[1] / medians[2] if {1, 2} <= medians.keys() else None


class Site:
    """A data folder on which workers run that have no broker: they look for themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        settings = Settings(data_dir=folder)
        self.files, self.database = Files(folder), Database(settings.sql_url)
        self.files.prepare()
        self.database.migrate()

    def run(self, params: Params) -> str:
        """The id of a job that succeeds."""
        with self._workers(1, helps=False):
            return self._ended([self._submitted(params)])[0].id

    def evaluate(self, params: Params, workers: int) -> Run:
        with self._workers(workers, helps=True):
            (row,) = self._ended([self._submitted(params)])
        result = json.loads(self.files.result(row.result_name).read_bytes())
        outcomes = {model["name"]: model["outcomes"] for model in result["models"]}
        return Run(_took(row), outcomes)

    def apart(self, params: Params, count: int) -> float:
        """The mean time of so many evaluations at once, with a worker each."""
        with self._workers(count, helps=False):
            rows = self._ended([self._submitted(params) for _ in range(count)])
        return statistics.mean(map(_took, rows))

    @contextmanager
    def _workers(self, count: int, *, helps: bool) -> Iterator[None]:
        """So many processes that are there, and wait, as those of a lab do."""
        context = multiprocessing.get_context("spawn")
        over, waiting = context.Event(), context.Barrier(count + 1)
        processes = [
            context.Process(target=_work, args=(self._folder, helps, waiting, over))
            for _ in range(count)
        ]
        for process in processes:
            process.start()
        waiting.wait()
        try:
            yield
        finally:
            over.set()
            for process in processes:
                process.join()

    def _submitted(self, params: Params) -> str:
        kind = next(kind for kind, of in PARAMS_OF.items() if isinstance(params, of))
        row = jobs.queued(kind, kind, params)
        jobs.add(self.database, row)
        return row.id

    def _ended(self, job_ids: list[str]) -> list[JobRow]:
        while True:
            rows = list(job_queries.by_id(self.database, job_ids).values())
            if all(JobStatus(row.status).is_final for row in rows):
                break
            time.sleep(0.2)
        for row in rows:
            if row.status != JobStatus.SUCCEEDED:
                raise SystemExit(f"{row.title}: {row.status}, {row.failure}")
        return rows


def _work(folder: Path, helps: bool, waiting: Barrier, over: Event) -> None:
    """A worker, which takes jobs and then helps with those of others (`worker.tasks`)."""
    torch.set_num_threads(1)
    keep_freed_memory()
    load()
    settings = Settings(data_dir=folder)
    lab = WorkerLab(settings, Database(settings.sql_url), Files(folder), lambda _: None)
    waiting.wait()
    while not over.is_set():
        ran = [
            run_next(lab, queue, stopping=over.is_set) for queue in (Queue.TRAIN, Queue.EVALUATE)
        ]
        if not any(ran) and not (helps and help_out(lab, stopping=over.is_set)):
            over.wait(_RING_S)


def _took(row: JobRow) -> float:
    """Seconds from a job's start to its end."""
    assert row.started_at is not None
    assert row.finished_at is not None
    return row.finished_at - row.started_at


def simulated(folder: Path, seconds: float) -> None:
    """Prints how parts that wait are shared out, and the limits that follow."""
    folder.mkdir()
    url = Settings(data_dir=folder).sql_url
    database = Database(url)
    database.migrate()
    row = jobs.queued(
        JobKind.EVALUATE, "simulated", EvaluateParams(models=("a" * 32,), dataset="b" * 32)
    )
    jobs.add(database, row)
    job = jobs.claim(database, row.id, lease_s=3600)
    assert job is not None
    shards.divide(database, job, _PARTS, "facts", shared=True)
    for count in SIMULATED:
        done = _at_once(url, count, seconds)
        ideal = count * seconds / _PART_S
        print(f"simulated: {count} workers, {done} parts of {_PART_S:.0f} s in {seconds:.0f} s "
              f"({done / ideal:.0%} of what they could)")  # fmt: skip
    claim = shards.claim_any(database, "facts", worker="w", lease_s=_LEASE_S)
    assert claim is not None
    costs = {
        "a claim": _seconds(lambda: shards.claim_any(
            database, "facts", worker="w", lease_s=_LEASE_S)),
        "a note of progress": _seconds(lambda: shards.note(database, claim, 1.0)),
        "a look whether it must end": _seconds(lambda: shards.must_end(database, claim)),
    }  # fmt: skip
    for what, cost in costs.items():
        print(f"measured: {what} {1000 * cost:.2f} ms (SQLite, alone)")
    _limits(costs)


def _at_once(url: str, count: int, seconds: float) -> int:
    """How many parts so many workers finish."""
    until, done = time.monotonic() + seconds, [0] * count

    def work(place: int) -> None:
        database = Database(url, patience_s=60.0)
        while time.monotonic() < until:
            claim = shards.claim_any(database, "facts", worker=str(place), lease_s=_LEASE_S)
            assert claim is not None
            time.sleep(_PART_S)
            shards.note(database, claim, 1.0)
            shards.finish(database, claim, 1.0)
            done[place] += time.monotonic() < until

    threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def _seconds(call: Callable[[], object], times: int = 30) -> float:
    """The median of so many calls."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def _limits(costs: dict[str, float]) -> None:
    """How many workers each part of the lab carries, the least first."""
    writes, looks = 1 / _NOTES_S + 3 / _LEASE_S + 2 / PIECE_S, 1 / _LOOK_S
    save_mb = 250 * 3 * 3 * 32 * 32 * 4 / 2**20  # three tensors of 250 images of 32 pixels
    print(f"assumed of each worker: {writes:.1f} writes/s and {looks:.0f} looks/s, a save of "
          f"{save_mb:.0f} MB every {_SAVE_S:.0f} s")  # fmt: skip
    for what, value in ASSUMED.items():
        print(f"assumed: {value:,.0f} {what}")
    postgres, postgres_looks, storage, broker = ASSUMED.values()
    limits = {
        "writes to SQLite": 1 / costs["a note of progress"] / writes,
        "looks into SQLite": 1 / costs["a look whether it must end"] / looks,
        "writes to PostgreSQL": postgres / writes,
        "looks into PostgreSQL": postgres_looks / looks,
        "saves to the storage": storage / (save_mb / _SAVE_S),
        "wake-ups through the broker": broker * _WAKES_S,
    }
    for what, limit in sorted(limits.items(), key=lambda entry: entry[1]):
        short = "" if limit >= _WORKERS else f": breaks before {_WORKERS:,}"
        print(f"reckoned: {what} carry {limit:,.0f} workers{short}")


if __name__ == "__main__":
    sys.exit(main())
