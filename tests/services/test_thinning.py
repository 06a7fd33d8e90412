"""What old jobs reported is thinned, and pages show what they did."""

from __future__ import annotations

import time
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select, update

from app.contracts.events import Event, LogEvent, LogLevel, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobStatus
from app.services import jobs, upkeep
from app.services.lab import Lab
from app.store import jobs as store
from app.store.tables import EventRow, JobRow
from app.store.thinning import KEPT_LINES
from tests.plugins.rows import job_row

STEPS, LINES, DAY_S = 2500, 3 * KEPT_LINES, 24 * 3600.0


def reported() -> list[Event]:
    far = ProgressEvent(done=1, total=2, phase="epoch 1")
    events: list[Event] = []
    for i in range(STEPS):
        events += [MetricsEvent(series="step", step=i, values={"loss": 1 / (1 + i)}), far]
        if i % 100 == 99:
            events.append(MetricsEvent(series="epoch", step=i // 100, values={"loss": 1 / i}))
        if i < LINES:
            rare = LogLevel.WARNING if i == LINES // 2 else LogLevel.INFO
            events.append(LogEvent(level=rare, text=f"line {i}"))
    return events


@pytest.fixture
def ended(lab: Lab) -> str:
    """A training that ended 31 days ago."""
    store.add(lab.database, row := job_row())
    claim = store.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    store.report(lab.database, claim, reported())
    store.settle(lab.database, claim, JobStatus.CANCELLED)
    with lab.database.writing() as session:
        session.execute(update(JobRow).values(finished_at=time.time() - 31 * DAY_S))
    return row.id


def whole_log(lab: Lab, job_id: str) -> list[EventRow]:
    with lab.database.reading() as session:
        of_job = select(EventRow).where(EventRow.job_id == job_id)
        return list(session.scalars(of_job.order_by(EventRow.seq)))


def test_pages_show_of_a_thinned_job_what_they_showed(
    lab: Lab, client: httpx.Client, ended: str
) -> None:
    before = client.get(f"/jobs/{ended}/record.json").json()
    states = [event.body for event in whole_log(lab, ended) if event.type == "state"]
    assert "Thinned" not in client.get(f"/jobs/{ended}").text
    upkeep.thin(lab)
    after = client.get(f"/jobs/{ended}/record.json").json()
    assert after["figures"] == before["figures"]
    assert after["readings"] == before["readings"]
    texts = [line["text"] for line in after["log"]]
    kept = [*range(KEPT_LINES), LINES // 2, *range(LINES - KEPT_LINES, LINES)]
    assert texts == [f"line {i}" for i in kept]
    stored = whole_log(lab, ended)
    assert [event.body for event in stored if event.type == "state"] == states
    assert len(stored) < STEPS, "half as many as there were steps, and no progress"
    assert jobs.get(lab, ended).thinned_at is not None
    assert "Thinned" in client.get(f"/jobs/{ended}").text


def test_a_stream_of_a_thinned_job_comes_to_its_end(
    lab: Lab, client: httpx.Client, ended: str
) -> None:
    upkeep.thin(lab)
    told = client.get(f"/api/jobs/{ended}/events").text
    assert told.count("event: ") == len(whole_log(lab, ended))
    last = whole_log(lab, ended)[-1].seq
    assert client.get(f"/api/jobs/{ended}/events", params={"after": last}).status_code == 204


def test_thinning_again_takes_nothing_more(lab: Lab, ended: str) -> None:
    upkeep.thin(lab)
    once = [event.seq for event in whole_log(lab, ended)]
    with lab.database.writing() as session:
        session.execute(update(JobRow).values(thinned_at=None))
    upkeep.thin(lab)
    assert [event.seq for event in whole_log(lab, ended)] == once


@pytest.mark.parametrize("days", [0, 40])
def test_what_is_young_or_to_be_kept_stays_whole(lab: Lab, ended: str, days: float) -> None:
    facts = lab.settings.model_copy(update={"thin_after_d": days})
    upkeep.thin(replace(lab, settings=facts))
    assert len(whole_log(lab, ended)) == 2 * STEPS + STEPS // 100 + LINES + 3


def test_a_running_job_is_left_alone(lab: Lab) -> None:
    store.add(lab.database, row := job_row())
    claim = store.claim(lab.database, row.id, lease_s=60)
    assert claim is not None
    store.report(lab.database, claim, reported())
    upkeep.thin(lab)
    assert jobs.get(lab, row.id).thinned_at is None
