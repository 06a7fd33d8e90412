"""What is told of jobs that ended, and whether the webhook listens; `webhook` tells it."""

from __future__ import annotations

from datetime import UTC, datetime

from app.contracts.announcements import Announcement, Shares
from app.contracts.attacks import Method
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.views import WebhookHealth
from app.contracts.words import percent
from app.services.lab import Lab
from app.store import announcements as store
from app.store.tables import JobRow


def set_up(lab: Lab) -> bool:
    """Whether a webhook is set, from now on.

    One that is set hears of nothing that ended before; where it is only changed, nothing is lost.
    """
    if lab.settings.webhook_url is None:
        store.end(lab.database)
        return False
    store.begin(lab.database)
    return True


def announcement(lab: Lab, job: JobRow) -> Announcement:
    """What is said of a job that ended."""
    assert job.finished_at is not None
    error = None
    if job.failure:
        error = f"{job.failure['detail']} {job.failure['hint']}".strip()
    figures = None
    if job.clean is not None:
        figures = Shares(clean=job.clean, robust=job.robust, autoattack=job.autoattack)
    return Announcement(
        id=job.id,
        kind=JobKind(job.kind),
        name=job.name,
        title=job.title,
        state=JobStatus(job.status),
        finished_at=datetime.fromtimestamp(job.finished_at, UTC),
        address=page_of(lab, job.id),
        parent=job.parent_id,
        error=error,
        figures=figures,
        text=_text(job, error, figures),
    )


def page_of(lab: Lab, job_id: str) -> str:
    """The address of a job's page on this machine."""
    return f"{lab.settings.address}{lab.settings.root_path}/jobs/{job_id}"


def _text(job: JobRow, error: str | None, figures: Shares | None) -> str:
    said = f"{job.name or job.title}: {job.status}."
    if error:
        return f"{said} {error}"
    if figures is None:
        return said
    shares = {
        "Clean": figures.clean,
        "robust": figures.robust,
        Method.AUTOATTACK.record.title: figures.autoattack,
    }
    known = [f"{name} {percent(share)}" for name, share in shares.items() if share is not None]
    return f"{said} {', '.join(known)}."


def health(lab: Lab) -> WebhookHealth | None:
    """Whether the webhook takes what it is told; None where none is set."""
    url = lab.settings.webhook_url
    state = None if url is None else store.state(lab.database)
    if url is None or state is None:
        return None
    waiting = store.count(lab.database)
    return WebhookHealth(
        host=url.get_secret_value().host or "",
        waiting=waiting,
        failure=state.failure if waiting else "",
    )
