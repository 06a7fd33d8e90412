"""Requests and event streams while a training runs, and more streams than the lab takes.

    python -m bench.load [--seconds 600]      from the root of the repository

A whole lab (`python -m app`) trains. For so long 50 clients follow the training's events, and 20
requests a second ask for pages and the API in turn, each at its time, however late the answers
before it are. Then 1,000 clients at once ask for a stream.

PASS: the 95th percentile of the answers is under 250 ms, none is an error, all 50 streams get
events to the end, memory and open files of the web grow by no more than a tenth between the first
quarter and the end; and of the 1,000 each gets its stream or 503 with `Retry-After`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from bench.lab_process import LabProcess

TARGET_MS, TARGET_GROWTH = 250.0, 0.1
STREAMS, REQUESTS_A_SECOND, CROWD = 50, 20, 1000
_PAGES = ("/", "/jobs", "/models", "/datasets", "/board", "/train", "/api/jobs", "/api/models")


def main() -> int:
    """Prints the figures; 0 if all targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * CROWD)), hard))
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        lab = LabProcess(Path(scratch, "data"))
        try:
            lab.ready()
            load = Load(lab, _train(lab))
            asyncio.run(load.run(options.seconds))
        finally:
            lab.stop()
    return load.report()


def _train(lab: LabProcess) -> str:
    sent = {"name": "Shapes", "source": "shapes", "train_per_class": "500"}
    first = lab.post("/api/datasets", data=sent)["id"]
    while (lab.ask(f"/api/jobs/{first}") or {}).get("status") != "succeeded":
        time.sleep(0.5)
    training = {
        "name": "Long", "dataset": lab.ask("/api/datasets")[0]["id"], "architecture": "wrn-10-1",
        "epochs": 1000, "batch_size": 32,
    }  # fmt: skip
    job = str(lab.post("/api/jobs", json={"kind": "train", "params": training})["id"])
    while not (lab.ask(f"/api/jobs/{job}") or {}).get("progress"):
        time.sleep(0.5)
    return job


class Load:
    """What is asked of one lab, and what it answered."""

    def __init__(self, lab: LabProcess, job: str) -> None:
        self._url, self._job = lab.url, job
        self._web = lab.recorded("web")
        self._ms: list[float] = []
        self._answers: Counter[str] = Counter()
        self._heard = [0.0] * STREAMS
        self._web_use: list[tuple[float, int]] = []
        self._crowd: Counter[str] = Counter()
        self._ended = 0.0

    async def run(self, seconds: float) -> None:
        """First the load, then the crowd."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx.AsyncClient(base_url=self._url, timeout=60, limits=limits) as client:
            streams = [asyncio.create_task(self._follow(client, n)) for n in range(STREAMS)]
            asked, begun = [], time.monotonic()
            for number, page in enumerate(itertools.cycle([*_PAGES, f"/jobs/{self._job}"])):
                due = begun + number / REQUESTS_A_SECOND
                if due > begun + seconds:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                asked.append(asyncio.create_task(self._ask(client, page, due)))
                if number % (10 * REQUESTS_A_SECOND) == 0:
                    self._web_use.append(_use(self._web))
            await asyncio.gather(*asked)
            self._ended = time.monotonic()
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            await asyncio.gather(*(self._join(client) for _ in range(CROWD)))

    async def _follow(self, client: httpx.AsyncClient, number: int) -> None:
        async with client.stream("GET", f"/api/jobs/{self._job}/events", timeout=None) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data"):
                    self._heard[number] = time.monotonic()

    async def _ask(self, client: httpx.AsyncClient, page: str, due: float) -> None:
        try:
            answer = await client.get(page)
            self._answers[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            self._answers[type(error).__name__] += 1
        self._ms.append(1000 * (time.monotonic() - due))

    async def _join(self, client: httpx.AsyncClient) -> None:
        path = f"/api/jobs/{self._job}/events"
        try:
            async with client.stream("GET", path) as answer:
                waits = answer.status_code == 503 and "retry-after" not in answer.headers
                self._crowd[f"{answer.status_code}{' without Retry-After' * waits}"] += 1
                if answer.status_code == 200:
                    await asyncio.sleep(10)
        except httpx.HTTPError as error:
            self._crowd[type(error).__name__] += 1

    def report(self) -> int:
        """Prints the figures; 0 if all targets are met, else 1."""
        median, p95 = statistics.median(self._ms), statistics.quantiles(self._ms, n=20)[-1]
        first, last = self._web_use[len(self._web_use) // 4], self._web_use[-1]
        growth = max(last[0] / first[0], last[1] / first[1]) - 1
        lively = sum(self._ended - heard < 60 for heard in self._heard)
        print(f"{len(self._ms):,} answers, {dict(self._answers)}: median {median:.0f} ms, "
              f"95 % {p95:.0f} ms; load average {os.getloadavg()[0]:.1f}")  # fmt: skip
        print(f"{lively} of {STREAMS} streams heard of events within the last minute")
        print(f"web: {first[0]:.0f} to {last[0]:.0f} MB, {first[1]} to {last[1]} open files")
        print(f"{CROWD:,} streams at once: {dict(self._crowd)}")
        met = p95 <= TARGET_MS and set(self._answers) == {"200"} and lively == STREAMS
        met = met and growth <= TARGET_GROWTH and set(self._crowd) <= {"200", "503"}
        print(f"{'PASS' if met else 'MISS'} load: 95 % within {p95:.0f} ms, target {TARGET_MS:.0f}")
        return 0 if met else 1


def _use(pid: int) -> tuple[float, int]:
    """Resident memory in MB, and open files."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    resident = int(fields[1]) * resource.getpagesize() / 1e6
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


if __name__ == "__main__":
    sys.exit(main())
