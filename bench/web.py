"""Milliseconds from the request to the last byte of each page, with ten thousand jobs stored.

    python -m bench.web [--requests 50] [--jobs 10000] [--database postgresql://…/empty]

Fills a new lab through its own store (bench/stored_jobs.py; what is beyond `--written` jobs is
copied), from the root of the repository, starts the web process alone, by the
command that `python -m app` uses and with a Valkey beside it, and asks for one page after the
other, over and over, on one connection. The first round is not counted: it imports what pages need.
Job pages fetch their charts and log in a second request, which is listed and judged like a page.

PASS: the 95th percentile of every page is at most 50 ms, on PostgreSQL 100 ms, and the process
stays under 150 MB.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.run.broker import Broker
from app.run.supervisor import web_command
from app.services.lab import Lab
from app.settings import Settings
from bench.lab_process import free_port
from bench.multiplied import multiply
from bench.stored_jobs import Stored, fill

LOOPBACK = "127.0.0.1"
TARGET_MS, TARGET_SHARED_MS = 50.0, 100.0
TARGET_MB = 150.0
STARTS_WITHIN_S = 60.0


def main() -> int:
    """Prints the figures; 0 if both targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50, help="of each page, at least 2")
    parser.add_argument("--jobs", type=int, default=10_000, help="stored jobs")
    parser.add_argument("--written", type=int, default=10_000, help="of these, one by one")
    parser.add_argument("--database", help="the URL of an empty PostgreSQL database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, broker(Path(folder)) as redis_url:
        settings = Settings(
            data_dir=Path(folder), redis_url=redis_url, database_url=options.database
        )
        lab = Lab.open(settings)
        stored = fill(lab, min(options.jobs, options.written))
        multiply(lab, options.jobs)
        lab.close()
        with web(settings) as (pid, port):
            times = measure(port, pages(stored), options.requests)
            resident, peak = memory_mb(pid)
    target = TARGET_SHARED_MS if options.database else TARGET_MS
    return report(times, resident, peak, options.jobs, target)


def pages(stored: Stored) -> dict[str, str]:
    """The path of each page, by what the figures call it."""
    fixed = (
        "/", "/train", "/evaluate", "/ablation", "/live", "/jobs", "/jobs?sort=robust",
        "/jobs?q=Student", "/models", "/models?sort=robust", "/board", "/datasets", "/compare",
        "/compare/trainings",
    )  # fmt: skip
    named = {path: path for path in fixed}
    named["/datasets/{id}"] = f"/datasets/{stored.dataset}"
    named["/models/{id}"] = f"/models/{stored.student}"
    for kind, job_id in stored.jobs.items():
        named[f"/jobs/{{id}}, {kind}"] = f"/jobs/{job_id}"
        named[f"  its charts, {kind}"] = f"/jobs/{job_id}/record.json"
    return named


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A Valkey as the lab starts it; its address."""
    server = Broker(folder / "valkey")
    server.child.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.child.forget()
        server.clean()


@contextmanager
def web(settings: Settings) -> Iterator[tuple[int, int]]:
    """The web process on a free port, once it answers: process id and port."""
    port = free_port()
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("LAB_")}
    own = {
        "LAB_DATA_DIR": str(settings.data_dir),
        "LAB_REDIS_URL": settings.redis_url or "",
        "LAB_DATABASE_URL": settings.database_url or "",
        "LAB_PORT": str(port),
        "LAB_MAX_WAITING": str(settings.max_waiting),
        "LAB_MIN_FREE_MB": str(settings.min_free_mb),
    }
    command = web_command(settings.model_copy(update={"port": port}))
    process = subprocess.Popen([sys.executable, *command], env=inherited | own)
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the web did not start; its lines above say why")
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def measure(port: int, paths: Mapping[str, str], requests: int) -> dict[str, list[float]]:
    """Milliseconds of each request, by page; one page after the other, `requests` times."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60.0)
    times: dict[str, list[float]] = {name: [] for name in paths}
    for round_ in range(requests + 1):
        for name, path in paths.items():
            begin = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            milliseconds = 1000 * (time.perf_counter() - begin)
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}")
            if round_ > 0:
                times[name].append(milliseconds)
    connection.close()
    return times


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory now and at its highest, in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    now, peak = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, peak


def report(
    times: Mapping[str, list[float]], resident: float, peak: float, count: int, target: float
) -> int:
    """Print a line for each page and the verdict; the exit code."""
    p95 = {n: statistics.quantiles(ms, n=20, method="inclusive")[-1] for n, ms in times.items()}
    print(
        f"{count} jobs stored, n = {len(next(iter(times.values())))} a page, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name, milliseconds in times.items():
        print(
            f"{name:28} p50 {statistics.median(milliseconds):6.1f} ms  p95 {p95[name]:6.1f} ms  "
            f"max {max(milliseconds):6.1f} ms"
        )
    print(f"web process: {resident:.0f} MB resident, {peak:.0f} MB at its highest")
    slowest = max(p95, key=lambda name: p95[name])
    met = p95[slowest] <= target and peak < TARGET_MB
    print(
        f"{'PASS' if met else 'MISS'} web: slowest p95 {p95[slowest]:.1f} ms ({slowest}), "
        f"target at most {target:.0f} ms; memory {peak:.0f} MB, target under {TARGET_MB:.0f} MB"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
