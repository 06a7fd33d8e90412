"""`python -m bench.soak`: a lab whose processes are killed while it has work, and what came of it.

It starts a lab on a folder of its own, submits imports, trainings and evaluations, and until all
are over ends one of the lab's processes by SIGKILL every few seconds: a worker, a worker's child,
the web or the broker, at random, or empties the broker (FLUSHALL). Only processes that this lab
started are touched. Then every job must be over, succeeded, with gapless events, one end, one
result that is whole, and no dataset or model twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis

ROOT = Path(__file__).resolve().parents[1]
_WITHIN_S = 1800.0
_FINAL = ("succeeded", "failed", "cancelled")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-soak-") as scratch:
        folder = Path(scratch, "data")
        lab = _Lab(folder)
        try:
            lab.ready()
            jobs, begin = _submit(lab, options.jobs), time.monotonic()
            kills = _torment(lab, jobs, random.Random(options.seed), options.every)
            seconds = time.monotonic() - begin
        finally:
            lab.stop()
        faults = [*_faults(folder, jobs)]
    for fault in faults:
        print(fault)
    print(f"{len(jobs)} jobs, {seconds:.0f} s, seed {options.seed}; {dict(kills)}")
    good = len(jobs) - len({fault.split(":")[0] for fault in faults})
    verdict = "PASS" if not faults else "MISS"
    print(
        f"{verdict} soak: {good} of {len(jobs)} jobs ended well, with one result each, target all"
    )
    return 0 if not faults else 1


class _Lab:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._folder = folder
        own = {"LAB_DATA_DIR": str(folder), "LAB_PORT": str(port), "OMP_NUM_THREADS": "1"}
        own |= {
            "LAB_CHECKPOINT_S": "1",
            "LAB_LEASE_S": "10",
            "LAB_SHIPPED_DIR": str(ROOT / "bench"),
        }
        self._log = (folder.parent / "lab.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=ROOT, env=os.environ | own,
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def ready(self) -> None:
        while not (self.ask("/api/health") or {}).get("ok"):
            if self.process.poll() is not None:
                raise SystemExit("the lab did not start")
            time.sleep(0.5)

    def ask(self, path: str) -> Any:
        """None while it does not answer."""
        try:
            return self.http.get(path).json()
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, path: str, **request: Any) -> Any:
        """Again and again until it is taken, under one key."""
        key = {"Idempotency-Key": os.urandom(8).hex()}
        while True:
            try:
                answer = self.http.post(path, headers=key, **request)
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code < 500:
                return answer.raise_for_status().json()

    def family(self) -> dict[int, str]:
        """The lab's processes but for the supervisor and its watchdog, by what they run."""
        listed = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
        every = {int(pid): (int(parent), command) for pid, parent, command in lines}
        own = {pid for pid, (parent, _) in every.items() if parent == self.process.pid}
        children = {pid for pid, (parent, _) in every.items() if parent in own}
        named = {pid: every[pid][1] for pid in own | children}
        return {pid: text for pid, text in named.items() if "watchdog" not in text}

    def flush(self) -> None:
        text = (self._folder / "valkey" / "valkey.conf").read_text()
        password = re.search(r"requirepass (\S+)", text)
        path = re.search(r"unixsocket (\S+)", text)
        assert password is not None
        assert path is not None
        with redis.Redis(unix_socket_path=path[1], password=password[1]) as broker:
            broker.flushall()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)
        self._log.close()


def _submit(lab: _Lab, count: int) -> list[str]:
    """Trainings and evaluations, and imports for the rest."""
    drawn = {"source": "shapes", "train_per_class": "20"}
    first = lab.post("/api/datasets", data={"name": "First", **drawn})["id"]
    _until(lambda: _over(lab, first), "the first import")
    dataset = lab.ask("/api/datasets")[0]["id"]
    training = {"dataset": dataset, "architecture": "wrn-10-1", "epochs": 8, "batch_size": 32}
    body = {"kind": "train", "params": {"name": "Teacher", **training, "epochs": 1}}
    teacher = lab.post("/api/jobs", json=body)["id"]
    _until(lambda: _over(lab, teacher), "the first training")
    model = lab.ask("/api/models")["items"][0]["id"]
    jobs = [first, teacher]
    for number in range(count - 2):
        if number % 6 == 0:
            body = {"kind": "train", "params": {"name": f"Net {number}", **training}}
            jobs.append(lab.post("/api/jobs", json=body)["id"])
        elif number % 6 == 1:
            params = {"models": [model], "dataset": dataset, "images": 20, "batch_size": 10}
            jobs.append(lab.post("/api/jobs", json={"kind": "evaluate", "params": params})["id"])
        else:
            sent = {"name": f"Shapes {number}", **drawn}
            jobs.append(lab.post("/api/datasets", data=sent)["id"])
    return jobs


def _torment(lab: _Lab, jobs: list[str], rng: random.Random, every: float) -> Counter[str]:
    """Until all are over; returns how often what was ended."""
    kills: Counter[str] = Counter()
    deadline = time.monotonic() + _WITHIN_S
    while not all(_over(lab, job) for job in jobs[::-1]):
        if time.monotonic() > deadline:
            break
        time.sleep(rng.uniform(0.5, 1.5) * every)
        family = lab.family()
        if rng.random() < 0.1:
            try:
                lab.flush()
                kills["FLUSHALL"] += 1
            except (redis.RedisError, OSError):
                pass
        elif family:
            pid = rng.choice(sorted(family))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills[_kind(family[pid])] += 1
    return kills


def _kind(command: str) -> str:
    queue = re.search(r"-Q (\w+)", command)
    if queue is not None:
        return f"{queue[1]} worker or child"
    return "web" if "uvicorn" in command else "broker" if "valkey" in command else "other"


def _over(lab: _Lab, job: str) -> bool:
    found = lab.ask(f"/api/jobs/{job}")
    return found is not None and found.get("status") in _FINAL


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.2)


def _faults(folder: Path, jobs: list[str]) -> Iterator[str]:
    with sqlite3.connect(folder / "lab.sqlite3") as database:
        for job in jobs:
            of_job = "FROM jobs WHERE id = ?"
            status, file, failure, last = database.execute(
                f"SELECT status, result_file, failure, last_event {of_job}", (job,)
            ).fetchone()
            if status != "succeeded":
                yield f"{job}: {status}, {failure}"
                continue
            events = database.execute(
                "SELECT seq, type, body FROM job_events WHERE job_id = ? ORDER BY seq", (job,)
            ).fetchall()
            ends = [1 for _, kind, body in events if kind == "state" and "succeeded" in body]
            if len(ends) != 1 or [row[0] for row in events] != [*range(1, last + 1)]:
                yield f"{job}: {len(ends)} ends, {len(events)} of {last} events"
            json.loads((folder / "results" / file).read_text())
            for table, most in (("models", 2), ("datasets", 1)):
                query = f"SELECT count(*) FROM {table} WHERE job_id = ?"
                if database.execute(query, (job,)).fetchone()[0] > most:
                    yield f"{job}: more {table} than one job leaves"


if __name__ == "__main__":
    sys.exit(main())
