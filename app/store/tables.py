"""The lab's tables. Times are Unix seconds (UTC); JSON columns hold contracts checked outside."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON}


class JobRow(Table):
    """A job. `fence` grows with every claim; a worker that lost its lease holds an old one."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(String(32))
    """The job whose part this one is."""
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(300))
    params: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    sent_at: Mapped[float | None]
    """When the broker was last told; None when it must be told again."""
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    last_event: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    result_file: Mapped[str | None] = mapped_column(String(200))
    summary: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """Of an evaluation that succeeded (`app.store.summaries`); read only where it is asked for."""
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    request_digest: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (
        Index("jobs_by_age", "created_at", "id"),
        Index("jobs_by_status", "status", "queue", "created_at"),
        Index("jobs_by_parent", "parent_id", "created_at"),
    )


class EventRow(Table):
    """What a job reported; `seq` counts from 1 within the job, without gaps."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(16))
    at: Mapped[float]
    body: Mapped[dict[str, Any]]


class DatasetRow(Table):
    """A dataset whose files are complete."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    source: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[float]
    report: Mapped[dict[str, Any]]


class ModelRow(Table):
    """A registered model whose weights are on disk."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[float]
    deleted_at: Mapped[float | None]
    """In the bin since then; the files go when it has been there for a while."""
    dataset_id: Mapped[str | None] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    card: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("models_by_age", "created_at", "id"),
        Index("models_by_name", "name"),
    )


class UploadRow(Table):
    """A file that a user sent, checked and kept until its job no longer needs it."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    filename: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    created_at: Mapped[float]
