"""The page of workers: many, none, and some with names that nobody would expect."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from app.contracts.jobs import Queue, offer_key, presence_key, silence_key
from app.contracts.placement import Offer, OfferedGpu
from app.run.supervisor import worker_command
from app.services.lab import Lab
from app.settings import RELEASE, Settings, code_version
from app.store import jobs, placement
from tests.plugins.rows import job_row
from tests.web.parsing import attributes, parsed, texts

HERE = {"release": RELEASE, "version": code_version()}


@pytest.fixture
def settings(broker_url: str, tmp_path: Path) -> Settings:
    """Here the broker answers."""
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    return Settings(data_dir=tmp_path / "data", redis_url=broker_url, lease_s=1000)


@pytest.fixture
def broker(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


def say(broker: redis.Redis, offer: Offer, *queues: Queue) -> None:
    for queue in queues:
        broker.zadd(presence_key(queue), {offer.name: time.time()})
    broker.set(offer_key(offer.name), offer.model_dump_json(), ex=60)


def rows(page: str) -> list[list[str]]:
    """The cells of each worker's row."""
    found = parsed(page).select("table.workers tbody tr")
    return [
        [" ".join(cell.get_text(" ").split()) for cell in row.select("th, td")] for row in found
    ]


def test_a_lab_without_workers_says_how_to_start_them(client: httpx.Client) -> None:
    page = client.get("/workers").text
    assert not parsed(page).select("table.workers")
    assert "No worker is there: jobs wait for one." in texts(page, ".note")[0]
    commands = [shlex.join(["python", *worker_command(queue)]) for queue in Queue]
    assert texts(page, ".note pre") == commands


def test_a_queue_without_a_worker_says_how_to_start_one(
    client: httpx.Client, broker: redis.Redis
) -> None:
    say(broker, Offer(name="all@box", **HERE), Queue.TRAIN, Queue.LIVE)
    page = client.get("/workers").text
    assert texts(page, ".note")[0].startswith("No worker serves “evaluate”: such jobs wait.")
    assert len(texts(page, ".note pre")) == 1


def test_a_row_says_what_a_worker_has_and_runs(
    client: httpx.Client, lab: Lab, broker: redis.Redis
) -> None:
    gpus = (OfferedGpu(name="NVIDIA H100", memory_mb=81_920),)
    offer = Offer(name="train@gpu", host="gpu", cores=1, gpus=gpus, gflops=51_234.4, **HERE)
    say(broker, offer, Queue.TRAIN)
    jobs.add(lab.database, row := job_row(title="<b>Long</b>"))
    jobs.claim(lab.database, row.id, lease_s=600, worker=offer.name)
    page = client.get("/workers").text
    ((name, runs, queue, heard, device, memory, speed),) = rows(page)
    assert name == "train@gpu Drain"
    assert runs.startswith("<b>Long</b> begun ")
    assert attributes(page, "href", "table.workers td a") == [f"/jobs/{row.id}"]
    assert (queue, heard, device) == ("train", "just now", "NVIDIA H100 1 core of gpu")
    assert (memory, speed) == ("80 GB", "51,234")
    assert client.get("/workers/rows").text.count("train@gpu") >= 1


def test_a_worker_is_drained_from_the_page_and_taken_back(
    client: httpx.Client, lab: Lab, broker: redis.Redis
) -> None:
    say(broker, Offer(name="train@box", **HERE), *Queue)
    jobs.add(lab.database, row := job_row())
    jobs.claim(lab.database, row.id, lease_s=600, worker="train@box")
    (action,) = attributes(client.get("/workers").text, "action", "table.workers form")
    answer = client.post(action)
    assert (answer.status_code, answer.headers["location"]) == (303, "/workers")
    page = client.get("/workers").text
    assert texts(page, "tr.drained .badge") == ["drained"]
    assert texts(page, "tr.drained .note-line")[0].endswith("; it finishes its job")
    assert "Nobody takes jobs of “train” and “evaluate” and “live”" in client.get("/").text
    (action,) = attributes(page, "action", "table.workers form")
    client.post(action)
    assert not placement.drains(lab.database)
    assert texts(client.get("/").text, ".health a") == ["Workers"]


def test_names_from_elsewhere_are_text(client: httpx.Client, broker: redis.Redis) -> None:
    """Redis may hold anything; a worker whose name is none cannot be drained from here."""
    broker.zadd(silence_key(Queue.TRAIN), {'"><script>alert(1)</script>/..': time.time()})
    gpu = OfferedGpu(name="&" * 100, memory_mb=None)
    long = Offer(name="w" * 100, host="<i>" * 33, gpus=(gpu,))
    say(broker, long, Queue.LIVE)
    page = client.get("/workers").text
    assert not parsed(page).select("table.workers script, table.workers i")
    (odd, *_), (name, *_) = rows(page)
    assert odd.startswith('"><script>alert(1)</script>/.. hangs')
    assert name.startswith("w" * 100)
    for action in attributes(page, "action", "table.workers form"):
        assert client.post(action).status_code in (303, 404, 422)


def test_many_workers_are_as_many_rows_and_no_more_questions(
    client: httpx.Client, broker: redis.Redis
) -> None:
    for number in range(200):
        say(broker, Offer(name=f"evaluate@node-{number:03d}", **HERE), Queue.EVALUATE)
    found = rows(client.get("/workers").text)
    assert [row[0] for row in found] == [f"evaluate@node-{n:03d} Drain" for n in range(200)]


def test_a_broker_that_is_away_is_said(lab: Lab, client: httpx.Client) -> None:
    placement.drain(lab.database, "train@box", by="ada")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(lab.broker), "present", lambda _: None)
        page = client.get("/workers").text
    assert texts(page, ".note.bad")[0].startswith("The broker does not answer")
    assert [row[3] for row in rows(page)] == ["not lately"], "what SQL knows is shown"
