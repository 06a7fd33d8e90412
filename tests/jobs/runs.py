"""A worker's lab in a folder, and jobs run in it without a broker."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.contracts.events import EVENT, Event
from app.contracts.jobs import QUEUE_OF, JobKind, JobStatus
from app.contracts.params import Params
from app.settings import Settings
from app.store import job_queries, jobs
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow
from tests.plugins import migrated
from worker.job_run import run_job
from worker.jobs.context import WorkerLab


def open_lab(
    folder: Path, *, ring: Callable[[str], None] = lambda _: None, **facts: float
) -> WorkerLab:
    """A lab in a folder; `ring` is called whenever a job's events grow. `facts`: its settings."""
    settings = Settings.model_validate({"data_dir": folder, **facts})
    files = Files(folder)
    files.prepare()
    database = Database(migrated.lay_out(folder))
    return WorkerLab(settings, database, files, ring)


def every_look(lab: WorkerLab) -> WorkerLab:
    """The lab, for whose jobs so much time passes between two steps that each one looks anew."""
    return replace(lab, clock=itertools.count(step=1000).__next__)


def add_job(lab: WorkerLab, kind: JobKind, params: Params) -> str:
    """Queue a job; returns its id."""
    row = JobRow(
        id=uuid.uuid4().hex,
        kind=kind,
        status=JobStatus.QUEUED,
        queue=QUEUE_OF[kind],
        title=kind,
        params=params.model_dump(mode="json"),
        created_at=time.time(),
        attempt=0,
        fence=0,
        cancel_requested=False,
        last_event=0,
    )
    jobs.add(lab.database, row)
    return row.id


def run(
    lab: WorkerLab, kind: JobKind, params: Params, *, stopping: Callable[[], bool] = lambda: False
) -> JobRow:
    """Run a new job to where it ends; returns its row."""
    job_id = add_job(lab, kind, params)
    run_job(lab, job_id, stopping=stopping)
    return row_of(lab, job_id)


def row_of(lab: WorkerLab, job_id: str) -> JobRow:
    row = job_queries.get(lab.database, job_id)
    assert row is not None
    return row


def events_of(lab: WorkerLab, job_id: str) -> list[Event]:
    stored = job_queries.events_after(lab.database, job_id, 0, limit=10_000)
    return [EVENT.validate_python(event.body) for event in stored]


def lock(lab: WorkerLab) -> None:
    """For half a second nobody else writes to the database."""
    other = sqlite3.connect(
        lab.settings.data_dir / "lab.sqlite3", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.5, other.rollback).start()
