"""What the webhook is told when a job ends."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from app.contracts.jobs import JobKind, JobStatus


class Shares(BaseModel):
    """Accuracies in [0, 1] of the most robust model that a job left; None where not measured.

    Of a training on held-out images, the robust one under PGD-10; of an evaluation on test images,
    the robust one in the worst case over all of its attacks.
    """

    model_config = ConfigDict(frozen=True)

    clean: float | None
    robust: float | None
    autoattack: float | None
    """After AutoAttack."""


class Announcement(BaseModel):
    """One job that ended. It may come twice: `id` says which job it is of."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: JobKind
    name: str
    """What its user calls it; empty where nobody has named it."""
    title: str
    """What it does, in the lab's words; outside text."""
    state: JobStatus
    """One of the three final ones."""
    finished_at: datetime
    """UTC."""
    address: str
    """Of the job's page."""
    parent: str | None
    """The ablation that it is a part of."""
    error: str | None
    """Why it failed and what to do about it."""
    figures: Shares | None
    """None where the job left none."""
    text: str
    """All of it in a sentence, for chats."""
