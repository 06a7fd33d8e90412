"""Event streams against a real server and a real broker: no gap, no repeat, a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx
import pytest
import redis
from fastapi import FastAPI

from app.contracts.events import Event, LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import BELL, JobStatus
from app.services.lab import Lab
from app.store import job_queries, jobs
from app.store.jobs import Claim
from app.store.losses import release_expired
from tests.api.problems import problem
from tests.plugins.lab_process import ROOT, free_port, wait_until
from tests.plugins.rows import job_row


@dataclass(frozen=True)
class Sent:
    id: int
    event: str
    data: dict[str, Any]


@pytest.fixture
def client(connected: httpx.Client) -> httpx.Client:
    """An answer that has no end yet needs a connection."""
    return connected


def stream(
    client: httpx.Client, job: str, after: int | None = None, query: str = ""
) -> Iterator[Sent]:
    """Events as they arrive, until the server ends the stream."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with client.stream("GET", f"/api/jobs/{job}/events{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Sent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                fields = {}


@pytest.fixture
def claim(lab: Lab) -> Claim:
    row = job_row()
    jobs.add(lab.database, row)
    claim = jobs.claim(lab.database, row.id, lease_s=600)
    assert claim is not None
    return claim


def report(lab: Lab, claim: Claim, *texts: str) -> None:
    jobs.report(lab.database, claim, [LogEvent(text=text) for text in texts])
    lab.broker.ring(claim.job_id)


def finish(lab: Lab, claim: Claim, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    jobs.settle(lab.database, claim, status)
    lab.broker.ring(claim.job_id)


def test_a_finished_job_is_told_from_the_beginning(
    client: httpx.Client, lab: Lab, claim: Claim
) -> None:
    events: list[Event] = [
        ProgressEvent(done=1, total=2, phase="epoch 1 of 2", eta_s=3.5),
        MetricsEvent(series="step", step=7, values={"loss": 0.5}),
        LogEvent(text="<b>line</b>\nwith a break and data: inside"),
    ]
    jobs.report(lab.database, claim, events)
    finish(lab, claim)
    sent = list(stream(client, claim.job_id))
    assert [event.id for event in sent] == [1, 2, 3, 4, 5, 6]
    kinds = ["state", "state", "progress", "metrics", "log", "state"]
    assert [event.event for event in sent] == kinds
    for event, original in zip(sent[2:5], events, strict=True):
        at = event.data.pop("at")
        assert abs(at - time.time()) < 600
        assert event.data == original.model_dump(mode="json")
    assert sent[-1].data["status"] == "succeeded"


def test_not_a_number_does_not_break_the_stream(
    client: httpx.Client, lab: Lab, claim: Claim
) -> None:
    point = MetricsEvent(series="step", step=1, values={"loss": float("nan"), "lr": 0.1})
    jobs.report(lab.database, claim, [point])
    finish(lab, claim)
    metrics = next(e for e in stream(client, claim.job_id) if e.event == "metrics")
    assert metrics.data["values"] == {"loss": None, "lr": 0.1}


def test_one_stream_too_many_is_told_when_to_come_back(
    client: httpx.Client,
    lab: Lab,
    claim: Claim,
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that ended, or never began, leaves its place to others."""
    finish(lab, claim)
    monkeypatch.setattr("app.bell.MOST_STREAMS", 1)
    last = [*stream(client, claim.job_id)][-1].id
    # Its place is given back a moment after its last word.
    deadline = time.monotonic() + 20
    while (over := client.get(f"/api/jobs/{claim.job_id}/events", params={"after": last})).is_error:
        assert time.monotonic() < deadline
    assert over.status_code == 204
    with app.state.bell.place("", 1):
        answer = client.get(f"/api/jobs/{claim.job_id}/events")
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert [*stream(client, claim.job_id)][-1].id == last


@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_a_stream_goes_on_where_the_client_was(
    client: httpx.Client, lab: Lab, claim: Claim, how: str
) -> None:
    report(lab, claim, "a", "b", "c")
    finish(lab, claim)
    after = {"header": 4, "query": None, "both": 4}[how]
    query = {"header": "", "query": "?after=4", "both": "?after=1"}[how]
    assert [event.id for event in stream(client, claim.job_id, after, query)] == [5, 6]


def test_who_has_seen_the_end_is_told_not_to_come_back(
    client: httpx.Client, lab: Lab, claim: Claim
) -> None:
    finish(lab, claim)
    path = f"/api/jobs/{claim.job_id}/events"
    for last in ("3", "4", "9007199254740991"):
        answer = client.get(path, headers={"Last-Event-ID": last})
        assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(path, params={"after": 3}).status_code == 204


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9007199254740992", "9" * 40, "1\t2"])
def test_a_wrong_position_is_named(client: httpx.Client, claim: Claim, last: str) -> None:
    answer = client.get(f"/api/jobs/{claim.job_id}/events", headers={"Last-Event-ID": last})
    assert problem(answer, 422) == ["last-event-id"]
    answer = client.get(f"/api/jobs/{claim.job_id}/events", params={"after": last})
    assert problem(answer, 422) == ["after"]


@pytest.mark.parametrize("with_bell", [True, False])
def test_events_arrive_while_they_are_written(
    client: httpx.Client,
    lab: Lab,
    claim: Claim,
    with_bell: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each event is written only after the one before was received: nothing waits for a batch."""
    if not with_bell:
        monkeypatch.setattr("app.api.events._LOOK_AGAIN_S", 0.1)
    sent = stream(client, claim.job_id)
    assert [event.id for event in islice(sent, 2)] == [1, 2]
    for number in range(3, 6):
        jobs.report(lab.database, claim, [LogEvent(text=str(number))])
        if with_bell:
            lab.broker.ring(claim.job_id)
        assert next(sent).id == number
    jobs.settle(lab.database, claim, JobStatus.FAILED)
    assert next(sent).data["status"] == "failed"
    assert list(sent) == []


def test_no_gap_and_no_repeat_over_many_reconnections(
    client: httpx.Client, lab: Lab, claim: Claim
) -> None:
    """A worker writes 400 events in bursts while a client hangs up after every few."""

    def work() -> None:
        for burst in range(100):
            report(lab, claim, *(f"{burst}.{i}" for i in range(4)))
        finish(lab, claim)

    worker = threading.Thread(target=work)
    worker.start()
    seen: list[Sent] = []
    takes = [1, 7, 2, 40, 3, 90, 1, 1, 120]
    for take in takes:
        last = seen[-1].id if seen else None
        seen += islice(stream(client, claim.job_id, last), take)
    seen += stream(client, claim.job_id, seen[-1].id)
    worker.join()
    assert [event.id for event in seen] == list(range(1, 404))
    log = job_queries.charts_and_log(lab.database, claim.job_id, points=800)
    texts = [event.data["text"] for event in seen if event.event == "log"]
    assert texts == [event.body["text"] for event in log]
    assert len(texts) == 400


def test_many_streams_of_several_jobs_at_once(client: httpx.Client, lab: Lab) -> None:
    """More streams than there are threads, and every one of them hears its own job."""
    claims = []
    for _ in range(3):
        row = job_row()
        jobs.add(lab.database, row)
        claim = jobs.claim(lab.database, row.id, lease_s=600)
        assert claim is not None
        claims.append(claim)
    got: list[tuple[int, list[str]]] = []

    def follow(number: int) -> None:
        with httpx.Client(base_url=client.base_url, timeout=60) as own:
            sent = list(stream(own, claims[number].job_id))
        got.append((number, [e.data["text"] for e in sent if e.event == "log"]))

    followers = [threading.Thread(target=follow, args=(i % 3,)) for i in range(60)]
    for follower in followers:
        follower.start()
    for round_ in range(5):
        for number, claim in enumerate(claims):
            report(lab, claim, f"job {number} round {round_}")
    # Other requests are served while the streams are open.
    assert client.get("/api/health").status_code == 200
    for claim in claims:
        finish(lab, claim)
    for follower in followers:
        follower.join(60)
    assert len(got) == 60
    for number, texts in got:
        assert texts == [f"job {number} round {round_}" for round_ in range(5)]


def test_a_job_that_is_returned_to_the_queue_goes_on_in_the_same_stream(
    client: httpx.Client, lab: Lab
) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    jobs.claim(lab.database, row.id, lease_s=-1)
    sent = stream(client, row.id)
    assert [event.data.get("status") for event in islice(sent, 2)] == ["queued", "running"]
    release_expired(lab.database, lease_s=lab.settings.lease_s)
    states = []
    for event in sent:
        if event.event == "state":
            states.append(event.data["status"])
        if states == ["queued"] and event.event == "state":
            client.post(f"/api/jobs/{row.id}/cancel")
    assert states == ["queued", "cancelled"]


def test_noise_on_the_bell_does_no_harm(
    client: httpx.Client, lab: Lab, claim: Claim, broker_url: str
) -> None:
    sent = stream(client, claim.job_id)
    assert next(sent).id == 1
    with redis.Redis.from_url(broker_url) as broker:
        for noise in (b"\xff\xfe", b"", b"x" * 10_000, b"0" * 32, claim.job_id.encode()):
            broker.publish(BELL, noise)
    report(lab, claim, "after the noise")
    finish(lab, claim)
    assert [event.id for event in sent] == [2, 3, 4]


@pytest.mark.slow
def test_a_server_that_is_stopped_ends_its_streams(lab: Lab, claim: Claim) -> None:
    """It would wait ten minutes for them; so it ends at all only because they do."""
    port, facts = free_port(), lab.settings
    assert facts.redis_url is not None
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:served"]
    options = ["--port", str(port), "--timeout-graceful-shutdown", "600", "--log-level", "error"]
    places = {"LAB_DATA_DIR": str(facts.data_dir), "LAB_REDIS_URL": facts.redis_url}
    places["LAB_DATABASE_URL"] = facts.database_url or ""
    server = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | places)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: answers(client), "the server answers")
            sent = stream(client, claim.job_id)
            assert [event.id for event in islice(sent, 2)] == [1, 2]
            server.terminate()
            assert list(sent) == []
        assert server.wait(60) == -signal.SIGTERM
    finally:
        server.kill()
        server.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/health").status_code == 200
    except httpx.TransportError:
        return False
