"""Jobs without a broker, without a message, without a worker: nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis

from app.contracts.jobs import JobStatus, Queue, presence_key, silence_key
from app.contracts.words import duration
from app.main import create_app
from app.services import jobs as service
from app.services.lab import Lab
from app.services.upkeep import reconcile
from app.settings import Settings
from app.store import job_queries, jobs
from app.store.losses import Leases
from tests.plugins.rows import job_row
from tests.plugins.servers import served, valkey_on_socket
from tests.plugins.stock import stock_dataset, train_body


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_a_job_submitted_without_a_broker_is_sent_when_there_is_one(tmp_path: Path) -> None:
    socket = tmp_path / "v.sock"
    settings = Settings(data_dir=tmp_path / "data", redis_url=f"unix://:secret@{socket}?db=0")
    with served(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/api/datasets", data={"name": "Shapes", "source": "shapes"})
        assert answer.status_code == 202
        assert "broker does not answer" in answer.json()["waiting_because"]
        assert client.get("/api/health").json()["broker"] is False
        with valkey_on_socket(socket, "secret") as broker, redis.Redis.from_url(broker) as seen:
            until(lambda: seen.llen("evaluate") == 1)


def test_the_web_stops_at_any_moment_of_its_start(settings: Settings) -> None:
    """Also while it connects to the broker."""
    app = create_app(settings)

    async def stop_after(moments: int) -> None:
        async with asyncio.timeout(20), app.router.lifespan_context(app):
            for _ in range(moments):
                await asyncio.sleep(0)

    for moments in range(20):
        asyncio.run(stop_after(moments))


def test_the_reconciler_sends_a_forgotten_job_again_but_only_then(lab: Lab) -> None:
    row = job_row(sent_at=time.time() - 3600)
    jobs.add(lab.database, row)
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN) == 1
    with lab.database.writing() as session:
        again = session.get_one(type(row), row.id)
        again.sent_at = time.time() - 3600
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN) == 1, "a message that still waits needs no copy"


def test_the_reconciler_returns_the_job_of_a_lost_worker(lab: Lab) -> None:
    row = job_row()
    jobs.add(lab.database, row)
    jobs.claim(lab.database, row.id, lease_s=-1)
    reconcile(lab)
    assert service.get(lab, row.id).status == JobStatus.RUNNING, "it may be about to renew"
    reconcile(replace(lab, leases=Leases(0)))
    view = service.get(lab, row.id)
    assert (view.status, view.attempt) == (JobStatus.QUEUED, 1)
    assert lab.broker.waiting(Queue.TRAIN) == 1


def test_why_a_job_waits(client: httpx.Client, lab: Lab, broker_url: str) -> None:
    dataset = stock_dataset(lab)

    def reason() -> str:
        job = client.post("/api/jobs", json=train_body(dataset)).json()
        return str(job["waiting_because"])

    assert "No worker" in reason()
    with redis.Redis.from_url(broker_url) as broker:
        broker.zadd(presence_key(Queue.TRAIN), {"train@here": time.time() - 3600})
        assert "No worker" in reason(), "one that was last seen an hour ago is none"
        broker.zadd(presence_key(Queue.TRAIN), {"train@here": time.time()})
    assert reason() == "2 jobs come before it."
    first = client.get("/api/jobs").json()["items"][-1]["id"]
    assert jobs.claim(lab.database, first, lease_s=lab.settings.lease_s)
    said = client.get("/api/jobs").json()["items"][-2]["waiting_because"]
    assert said == "The queue “train” is busy: a job runs before it."
    assert reason() == "The queue “train” is busy: a job runs, and 2 jobs come before it."
    assert client.get(f"/api/jobs/{first}").json()["waiting_because"] is None


def test_a_worker_that_hangs_is_named_as_what_holds_the_queue_up(
    client: httpx.Client, lab: Lab, broker_url: str
) -> None:
    jobs.add(lab.database, row := job_row())
    with redis.Redis.from_url(broker_url) as broker:
        broker.zadd(silence_key(Queue.TRAIN), {"train@here": time.time()})
    said = client.get(f"/api/jobs/{row.id}").json()["waiting_because"]
    assert "hangs" in said
    assert client.get("/api/health").json()["ok"] is False


def test_a_running_job_says_that_its_worker_is_silent(client: httpx.Client, lab: Lab) -> None:
    jobs.add(lab.database, row := job_row())
    lease_s = lab.settings.lease_s
    assert jobs.claim(lab.database, row.id, lease_s=0.1 * lease_s)
    said = client.get(f"/api/jobs/{row.id}").json()["waiting_because"]
    assert f"not been heard of for {duration(0.9 * lease_s)}" in said
    assert said in client.get(f"/jobs/{row.id}/state").text


def test_health_counts_jobs_and_workers(client: httpx.Client, lab: Lab, broker_url: str) -> None:
    for _ in range(3):
        jobs.add(lab.database, job_row())
    jobs.claim(lab.database, job_queries.page(lab.database, offset=0, limit=1)[0][0].id, lease_s=60)
    health = client.get("/api/health").json()
    assert (health["database"], health["broker"], health["ok"]) == (True, True, False)
    train = next(queue for queue in health["queues"] if queue["queue"] == "train")
    assert train == {"queue": "train", "waiting": 2, "running": 1, "workers": 0, "drained": 0}
    with redis.Redis.from_url(broker_url) as broker:
        for queue in Queue:
            broker.zadd(presence_key(queue), {f"{queue}@here": time.time()})
    assert client.get("/api/health").json()["ok"] is True


def test_health_is_503_when_the_database_does_not_answer(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.store.db import Database

    monkeypatch.setattr(Database, "answers", lambda _: False)
    answer = client.get("/api/health")
    assert answer.status_code == 503
    assert answer.json()["database"] is False
