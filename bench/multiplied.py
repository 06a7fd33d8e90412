"""Copies of what a filled lab holds, for labs larger than anybody would wait for."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

from sqlalchemy import create_engine, insert, select, text

from app.services.lab import Lab
from app.store.measurements import note_latest
from app.store.tables import DatasetRow, JobRow, MeasurementRow, ModelRow

_AT_ONCE = 500
_APART_S = 7.0
"""Each copied job is this much older than the one before."""


def multiply(lab: Lab, count: int) -> None:
    """Copy jobs that are over, with their models, datasets and measurements, until there are
    `count` jobs; events and files are not copied. Copies are older than all that there is."""
    with lab.database.reading() as session:
        jobs = session.execute(_all(JobRow).where(JobRow.finished_at.is_not(None))).all()
        there = len(session.scalars(select(JobRow.id)).all())
        left = {
            table: _by_job(session.execute(_all(table)).all())
            for table in (DatasetRow, ModelRow, MeasurementRow)
        }
    oldest = min(job.created_at for job in jobs)
    models: list[str] = []
    """Of the copies: each evaluation is of some of them."""
    originals = itertools.islice(itertools.cycle(jobs), max(0, count - there))
    for batch in _batches(originals):
        rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (JobRow, *left)}
        for job in batch:
            oldest -= _APART_S
            copied = job._asdict()
            shift = oldest - copied["created_at"]
            rows[JobRow].append(_copy(copied, shift))
            for table, by_job in left.items():
                for one in by_job.get(copied["id"], ()):
                    own = {"job_id": rows[JobRow][-1]["id"]}
                    if table is MeasurementRow and models:
                        own["model_id"] = models[
                            (len(rows[table]) + len(models)) * 7919 % len(models)
                        ]
                    rows[table].append(_copy(one._asdict(), shift) | own)
        models += [row["id"] for row in rows[ModelRow]]
        with lab.database.writing() as session:
            for table, every in rows.items():
                if every:
                    session.execute(insert(table.__table__), every)
    with lab.database.writing() as session:
        note_latest(session)
    if lab.settings.database_url:
        _vacuum(lab.settings.sql_url)


def _vacuum(url: str) -> None:
    """As PostgreSQL does by itself while a lab grows, but not within seconds: until then it has no
    statistics, and plans as if tables were small."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _all(table: Any) -> Any:
    """But for what the database makes of it itself."""
    return select(*(column for column in table.__table__.columns if column.name != "searched"))


def _by_job(rows: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.job_id, []).append(row)
    return found


def _batches(jobs: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(jobs, _AT_ONCE)):
        yield batch


def _copy(row: dict[str, Any], shift: float) -> dict[str, Any]:
    """With an id and a name of its own, earlier by `shift` seconds."""
    changed: dict[str, Any] = {}
    if "id" in row:
        changed["id"] = uuid.uuid4().hex
    if row.get("name"):
        changed["name"] = f"{row['name']} {changed['id'][:12]}"
    for name in ("at", "created_at", "started_at", "finished_at", "sent_at"):
        if row.get(name) is not None:
            changed[name] = row[name] + shift
    return row | changed
