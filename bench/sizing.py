"""What one web, one PostgreSQL and one Redis carry.

    python -m bench.sizing [--jobs 2000] [--seconds 20] [--workers 16]

From the root of the repository. A PostgreSQL of its own (with fsync, 256 MB of buffers), a Valkey
and one web process, by the commands of the lab, all on this machine; `--jobs` jobs are stored. Then
1, 2, 4 and 8 browsers ask for pages and lists in turn, each as soon as it has its answer. Then two
clients submit imports for so long, and simulated workers, threads of another process, are woken by
Redis, claim them as workers do, take half a second for each, report once and settle it.

Each figure comes with what a request or a job took of a processor, of web, PostgreSQL and Redis:
beside other work that grows, too, but less than times of answers do.

PASS: some number of browsers got all of their answers, 95 % within 100 ms, and the workers have
done what was submitted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import redis
from sqlalchemy import select

from app.contracts.events import ProgressEvent
from app.contracts.jobs import JobStatus, Queue
from app.contracts.placement import Offer
from app.services.lab import Lab
from app.settings import RELEASE, Settings
from app.store import jobs
from app.store.db import Database
from app.store.tables import JobRow
from bench.multiplied import multiply
from bench.stored_jobs import fill
from bench.web import broker, web
from tests.plugins.postgresql import Cluster, cluster

TARGET_MS = 100.0
BROWSERS = (1, 2, 4, 8)
_REAL = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on",
    "shared_buffers": "256MB",
}  # fmt: skip
_PAGES = ("/", "/jobs", "/models", "/datasets", "/board", "/api/jobs", "/api/models")
_JOB_S, _LEASE_S = 0.5, 30.0
_SIMULATED = "evaluate@simulated-"
_SUBMITTERS = 2


Reports: TypeAlias = "multiprocessing.Queue[Any]"


@dataclass(frozen=True)
class Used:
    """Seconds of a processor."""

    web: float
    database: float
    redis: float

    def since(self, before: Used, of: int) -> str:
        """Milliseconds of each of so many."""
        each = 1000 / max(of, 1)
        return (
            f"web {each * (self.web - before.web):.1f} ms, PostgreSQL "
            f"{each * (self.database - before.database):.1f} ms, Redis "
            f"{each * (self.redis - before.redis):.2f} ms of a processor"
        )


def main() -> int:
    """Prints the figures; 0 if the targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=16)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="lab-") as folder,
        broker(Path(folder)) as redis_url,
        cluster(**_REAL) as server,
        server.migrated() as database_url,
    ):
        settings = Settings(
            data_dir=Path(folder), redis_url=redis_url, database_url=database_url,
            max_waiting=100_000, min_free_mb=0,
        )  # fmt: skip
        lab = Lab.open(settings)
        fill(lab, min(options.jobs, 500))
        multiply(lab, options.jobs)
        lab.close()
        print(f"{options.jobs:,} jobs stored, {os.cpu_count()} cores", flush=True)
        with web(settings) as (pid, port), redis.Redis.from_url(redis_url) as bell:
            site = Site(f"http://127.0.0.1:{port}", lambda: _used(pid, server, bell))
            site.ask(1, 3.0)  # imports what pages need
            carried = [site.pages(count, options.seconds) for count in BROWSERS]
            done = site.jobs(database_url, redis_url, options.workers, options.seconds)
    best = max(carried)
    met = best > 0 and done
    print(f"{'PASS' if met else 'MISS'} sizing: {best:.0f} answers/s with 95 % within "
          f"{TARGET_MS:.0f} ms, target some; every job done: {done}")  # fmt: skip
    return 0 if met else 1


@dataclass(frozen=True)
class Site:
    """A web process, from outside."""

    url: str
    used: Callable[[], Used]

    def pages(self, browsers: int, seconds: float) -> float:
        """Answers a second, where 95 % came in time; else 0."""
        load, before = os.getloadavg()[0], self.used()
        times = self.ask(browsers, seconds)
        p95 = statistics.quantiles(times, n=20)[-1]
        print(
            f"{browsers} browsers: {len(times) / seconds:.1f} answers/s, median "
            f"{statistics.median(times):.0f} ms, 95 % within {p95:.0f} ms, n = {len(times)}; each "
            f"{self.used().since(before, len(times))}; load {load:.1f}", flush=True
        )  # fmt: skip
        return len(times) / seconds if p95 <= TARGET_MS else 0.0

    def ask(self, browsers: int, seconds: float) -> list[float]:
        """Milliseconds of the answers that so many browsers got."""
        over, times = time.monotonic() + seconds, list[float]()

        def browse(place: int) -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                while time.monotonic() < over:
                    begun = time.perf_counter()
                    client.get(_PAGES[place % len(_PAGES)]).raise_for_status()
                    times.append(1000 * (time.perf_counter() - begun))
                    place += 1

        _at_once(browse, browsers)
        return times

    def jobs(self, database_url: str, redis_url: str, workers: int, seconds: float) -> bool:
        """Whether what two clients submitted in so long was done."""
        sent = list[int]()
        context = multiprocessing.get_context("spawn")
        over, report = context.Event(), context.Queue()
        told = database_url, redis_url, workers, over, report
        working = context.Process(target=simulated, args=told)
        working.start()
        report.get()  # they are ready
        load, before = os.getloadavg()[0], self.used()
        until = time.monotonic() + seconds

        def submit(place: int) -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                number = 0
                while time.monotonic() < until:
                    number += 1
                    shapes = {"name": f"Sized {place}-{number}", "source": "shapes"}
                    client.post("/api/datasets", data=shapes).raise_for_status()
                sent.append(number)

        _at_once(submit, _SUBMITTERS)
        submitted = sum(sent)
        over.set()
        waits, span_s = report.get()
        working.join()
        used = self.used()
        p95 = statistics.quantiles(waits, n=20)[-1]
        print(
            f"{submitted / seconds * 60:.0f} jobs/min submitted by {_SUBMITTERS} clients, "
            f"{len(waits) / span_s * 60:.0f} done by {workers} workers of {_JOB_S} s, which could "
            f"{workers / _JOB_S * 60:.0f}; from submitted to claimed median "
            f"{statistics.median(waits):.2f} s, 95 % {p95:.2f} s; "
            f"each job {used.since(before, submitted)}; load {load:.1f}", flush=True
        )  # fmt: skip
        return len(waits) == submitted


def simulated(
    url: str, redis_url: str, count: int, over: Event, report: multiprocessing.Queue[Any]
) -> None:
    """Workers that only wait, each with connections of its own; until nothing is left after `over`
    was set. Puts a word once they begin; in the end the seconds that each job waited, and those
    from the first claim to the last end.
    """

    def work(place: int) -> None:
        database, name = Database(url, patience_s=60.0), f"{_SIMULATED}{place}"
        offer = Offer(name=name, release=RELEASE)
        with redis.Redis.from_url(redis_url) as bell:
            last = False
            while not last:
                last = over.is_set()
                bell.brpop([Queue.EVALUATE.value], timeout=1)
                while claim := jobs.claim_next(database, Queue.EVALUATE, offer, lease_s=_LEASE_S):
                    time.sleep(_JOB_S)
                    done = ProgressEvent(done=1, total=1, phase="waited")
                    jobs.report(database, claim, [done])
                    jobs.settle(database, claim, JobStatus.SUCCEEDED)
        database.close()

    report.put("ready")
    _at_once(work, count)
    of_ours = JobRow.worker.startswith(_SIMULATED)
    with Database(url).reading() as session:
        rows = session.scalars(select(JobRow).where(of_ours)).all()
    begun, ended = [row.claimed_at or 0.0 for row in rows], [row.finished_at or 0.0 for row in rows]
    waits = [row.claimed_at - row.created_at for row in rows if row.claimed_at is not None]
    report.put((waits, max(ended) - min(begun)))


def _at_once(what: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=what, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _used(web_pid: int, server: Cluster, bell: redis.Redis) -> Used:
    cpu = bell.info("cpu")
    return Used(
        web=_seconds(web_pid, ended_children=False),
        database=sum(_seconds(pid, ended_children=True) for pid in server.processes()),
        redis=float(cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
    )


def _seconds(pid: int, *, ended_children: bool) -> float:
    """Of a processor, that a process used; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    used = fields[11:15] if ended_children else fields[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
