"""Megabytes of the database after ten thousand jobs, and after what they reported is thinned.

    python -m bench.history [--jobs 10000] [--hours 12]      from the root of the repository

Fills a new lab through its own store (bench/stored_jobs.py), with one long training beside them,
and lets the lab thin all that is over, as it does when jobs ended LAB_THIN_AFTER_D ago. SQLite
gives space that becomes free to later rows, not back to the disk; so what is used is counted.

PASS: 10,000 jobs take at most 250 MB, and the long training is thinned to a tenth.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from app.contracts.events import Event, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import TrainParams
from app.services import upkeep
from app.services.lab import Lab
from app.settings import Settings
from app.store import jobs
from bench.stored_jobs import fill

TARGET_MB, TARGET_SHARE = 250.0, 0.1
_NOW_D = 1e-9
_AT_ONCE = 1000


def main() -> int:
    """Prints the figures; 0 if both targets are met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000, help="stored jobs")
    parser.add_argument("--hours", type=float, default=12.0, help="of the long training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        settings = Settings(data_dir=Path(folder), redis_url="redis://127.0.0.1:1/0")
        lab, file = Lab.open(settings), Path(folder, "lab.sqlite3")
        fill(lab, options.jobs)
        filled = used_mb(file)
        train_for(lab, options.hours)
        whole, began = used_mb(file), time.monotonic()
        facts = settings.model_copy(update={"thin_after_d": _NOW_D})
        upkeep.thin(replace(lab, settings=facts))
        seconds, thinned = time.monotonic() - began, used_mb(file)
        share = events_mb(file) / (whole - filled)
        lab.close()
    print(f"{options.jobs:,} jobs: {filled:.0f} MB; with a training of {options.hours:g} hours: "
          f"{whole:.0f} MB; thinned in {seconds:.0f} s: {thinned:.0f} MB")  # fmt: skip
    met = filled <= TARGET_MB and share <= TARGET_SHARE
    print(
        f"{'PASS' if met else 'MISS'} history: {filled:.0f} MB, target {TARGET_MB:.0f}; the long "
        f"training keeps {share:.1%}, target {TARGET_SHARE:.0%}"
    )
    return 0 if met else 1


def train_for(lab: Lab, hours: float) -> None:
    """A training that reports its progress every second and its loss every two."""
    params = TrainParams(name="Long", dataset="0" * 32)
    row = jobs.queued(JobKind.TRAIN, "Train Long", params)
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=3600.0)
    assert claim is not None
    values = dict.fromkeys(("loss", "classification", "mart", "agkd", "bml", "images_per_s"), 0.5)
    seconds = round(3600 * hours)
    told: list[Event] = []
    for second in range(seconds):
        told.append(ProgressEvent(done=second, total=seconds, phase="epoch 3 of 200", eta_s=1e4))
        if second % 2:
            told.append(MetricsEvent(series="step", step=second, values=values))
        if len(told) >= _AT_ONCE or second == seconds - 1:
            jobs.report(lab.database, claim, told)
            told = []
    jobs.settle(lab.database, claim, JobStatus.CANCELLED)


def used_mb(file: Path) -> float:
    """What rows and indices take."""
    with sqlite3.connect(file) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return float((pages - free) * size / 1e6)


def events_mb(file: Path) -> float:
    """The events of the last job, without what their index takes."""
    with sqlite3.connect(file) as database:
        newest = "SELECT id FROM jobs ORDER BY created_at DESC LIMIT 1"
        of_it = f"FROM job_events WHERE job_id = ({newest})"
        (size,) = database.execute(f"SELECT sum(length(body) + 60) {of_it}").fetchone()
    return float(size / 1e6)


if __name__ == "__main__":
    sys.exit(main())
