"""Seconds from a submitted job to its start on a free worker, what a job costs beside its work, and
from the start of a lab to its first live attack.

    python -m bench.start [--jobs 5]      from the root of the repository

A whole lab (`python -m app`), half a minute after it is ready. Imports, trainings and evaluations
as small as they can be are submitted one at a time, each once the worker is at rest again. Of each
are told: when a worker had it, when it first said something of its own, the processor time of its
process from its fork to its end; and of the lab before, the memory of all of its processes: what
each has for itself and its part of what it shares (PSS). Then the lab is ended and started again on
its folder, and the moment that it says it is ready an image is attacked.

PASS: 95 of 100 jobs say something within 1 s, the lab at rest has less than 1,500 MB, and the
result of that attack is there within 5 s of "ready".
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from bench.lab_process import ROOT, LabProcess, until

TARGET_S = 1.0
TARGET_MB = 1500.0
TARGET_LIVE_S = 5.0
_SETTLES_S, _PAUSE_S = 30.0, 3.0
_IMAGE = ROOT / "static" / "drawn" / "circle.png"
_MOMENTS = """
    SELECT started_at - created_at, min(at) - created_at FROM jobs
    JOIN job_events ON job_id = jobs.id AND job_events.type != 'state' WHERE jobs.id = ?
"""


class Start(NamedTuple):
    """Of one job, in seconds since it was submitted; `cost` in seconds of the processor."""

    taken: float
    says: float
    cost: float


class Beginning(NamedTuple):
    """Of a lab, in seconds since its command."""

    ready: float
    live: float
    """There is a worker for live attacks."""
    result: float
    """That of the first one."""


def main() -> int:
    """Prints the figures; 0 if all targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=5, help="of each kind, at least 2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        site = Site(Path(scratch, "data"))
        try:
            memory = site.rest()
            found = {
                name: [site.start(queue, submit, number) for number in range(options.jobs)]
                for name, queue, submit in (
                    ("import", "evaluate", site.imports),
                    ("train", "train", site.trains),
                    ("evaluate", "evaluate", site.evaluates),
                )
            }
            beginnings = [site.begin() for _ in range(options.jobs)]
        finally:
            site.lab.stop()
    return report(found, memory, beginnings)


class Site:
    """A lab in a data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lab = LabProcess(folder)

    def rest(self) -> float:
        """Wait until the lab has settled; MB (10^6 bytes) of all of its processes."""
        self.lab.ready()
        time.sleep(_SETTLES_S)
        return sum(map(_memory_mb, self.lab.processes()))

    def start(self, queue: str, submit: Callable[[int], str], number: int) -> Start:
        """Submit a job to a worker at rest, and follow it to its end."""
        time.sleep(_PAUSE_S)
        record = json.loads((self._folder / "lab.processes").read_text())
        worker = record["processes"][queue][0]
        before = _seconds_of_ended_children(worker)
        job = submit(number)
        until(lambda: self.lab.ask(f"/api/jobs/{job}")["status"] == "succeeded", every_s=0.5)
        until(lambda: _seconds_of_ended_children(worker) > before)
        with closing(sqlite3.connect(self._folder / "lab.sqlite3")) as database:
            taken, says = database.execute(_MOMENTS, (job,)).fetchone()
        return Start(taken, says, _seconds_of_ended_children(worker) - before)

    def begin(self) -> Beginning:
        """End the lab, start it again, and attack an image as soon as it says that it is ready."""
        self.lab.stop()
        begun = time.monotonic()
        self.lab = LabProcess(self._folder)
        until(self.lab.says_ready, every_s=0.02)
        ready = time.monotonic() - begun
        sent = {"image": ("drawn.png", _IMAGE.read_bytes())}
        data = {"models": self._first("models")}
        job = self.lab.post("/api/live", data=data, files=sent)["id"]
        until(self._live_is_served, every_s=0.05)
        live = time.monotonic() - begun
        until(lambda: self.lab.ask(f"/api/jobs/{job}")["status"] == "succeeded", every_s=0.05)
        return Beginning(ready, live, time.monotonic() - begun)

    def _live_is_served(self) -> bool:
        queues = (self.lab.ask("/api/health") or {}).get("queues", [])
        return any(each["queue"] == "live" and each["workers"] for each in queues)

    def imports(self, number: int) -> str:
        sent = {"name": f"Shapes {number}", "source": "shapes", "train_per_class": "10"}
        return str(self.lab.post("/api/datasets", data=sent)["id"])

    def trains(self, number: int) -> str:
        return self._submit(
            "train", name=f"Net {number}", dataset=self._first("datasets"), recipe="clean",
            architecture="wrn-10-1", epochs=1, batch_size=32,
        )  # fmt: skip

    def evaluates(self, _: int) -> str:
        return self._submit(
            "evaluate", models=[self._first("models")], dataset=self._first("datasets"), images=10,
            attack={"steps": 1}, epsilons=[0, "8/255"], step_counts=[1],
        )  # fmt: skip

    def _submit(self, kind: str, **params: Any) -> str:
        return str(self.lab.post("/api/jobs", json={"kind": kind, "params": params})["id"])

    def _first(self, what: str) -> str:
        found = self.lab.ask(f"/api/{what}")
        return str((found["items"] if isinstance(found, dict) else found)[0]["id"])


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def _seconds_of_ended_children(pid: int) -> float:
    """Of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def report(found: dict[str, list[Start]], memory: float, beginnings: list[Beginning]) -> int:
    """Print what lies where, and the verdict; the exit code."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; seconds, median (from to)")
    for name, starts in found.items():
        taken, says, cost = (
            f"{statistics.median(column):.3f} ({min(column):.3f} to {max(column):.3f})"
            for column in zip(*starts, strict=True)
        )
        print(f"{name:8} n = {len(starts)}, taken {taken}, says {says}, of the processor {cost}")
    ready, live, result = (
        f"{statistics.median(column):.1f} ({min(column):.1f} to {max(column):.1f})"
        for column in zip(*beginnings, strict=True)
    )
    print(f"the lab    n = {len(beginnings)}, ready {ready}, live attacks served {live}, the first "
          f"one's result {result}")  # fmt: skip
    waits = statistics.median(each.result - each.ready for each in beginnings)
    every = [start.says for starts in found.values() for start in starts]
    p95 = statistics.quantiles(every, n=20, method="inclusive")[-1]
    met = p95 < TARGET_S and memory < TARGET_MB and waits < TARGET_LIVE_S
    print(
        f"{'PASS' if met else 'MISS'} start: p95 {p95:.2f} s, target below {TARGET_S:.0f} s; "
        f"at rest {memory:,.0f} MB, target below {TARGET_MB:,.0f} MB; live {waits:.1f} s after "
        f"ready, target below {TARGET_LIVE_S:.0f} s"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
