"""A job whose outcome is to be stored while the database does not answer."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from sqlalchemy.exc import OperationalError

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams
from app.store.files import Files
from tests.jobs.runs import add_job, open_lab, row_of
from worker.job_run import run_job


class Unnamed(Files):
    """Files that a database has to name, which is locked at the first."""

    asked = 0

    def keep(self, path: Path) -> None:
        self.asked += 1
        if self.asked == 1:
            locked = sqlite3.OperationalError("database is locked")
            locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise OperationalError("INSERT", {}, locked)
        super().keep(path)


def test_it_waits_and_keeps_its_worker(tmp_path: Path) -> None:
    opened = open_lab(tmp_path / "lab")
    files = Unnamed(tmp_path / "lab")
    lab = replace(opened, files=files)
    job = add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=10))
    assert run_job(lab, job, stopping=lambda: False) == JobStatus.SUCCEEDED
    assert files.asked > 1
    assert row_of(lab, job).attempt == 1
