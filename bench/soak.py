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
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from bench.lab_process import HURRIED, LabProcess

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
        lab = LabProcess(folder, **HURRIED)
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


def _submit(lab: LabProcess, count: int) -> list[str]:
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


def _torment(lab: LabProcess, jobs: list[str], rng: random.Random, every: float) -> Counter[str]:
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
    queue = re.search(r"\b(train|evaluate|live|template)\b", command)
    if queue is not None:
        return f"{queue[1]} worker or child"
    return "web" if "uvicorn" in command else "broker" if "valkey" in command else "other"


def _over(lab: LabProcess, job: str) -> bool:
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
