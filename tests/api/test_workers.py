"""Workers by REST: what they say of themselves, who takes no new job, and what that changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis
from redis.connection import AbstractConnection

from app.contracts.jobs import (
    DRAINED,
    PRESENCE_TTL_S,
    JobKind,
    Queue,
    offer_key,
    presence_key,
    queue_of_gpus,
    silence_key,
)
from app.contracts.placement import Needs, Offer, OfferedGpu
from app.queue import Broker
from app.services import workers
from app.services.lab import Lab
from app.services.upkeep import clear, reconcile
from app.settings import RELEASE, Settings, code_version
from app.store import jobs, placement, shards
from app.store.tables import DatasetRow, JobRow
from tests.api.problems import problem
from tests.api.test_metrics import figures
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, train_body

CPU = Offer(
    name="train@box", host="box", machine="x86_64", cores=4, memory_mb=16_000,
    version=code_version(), release=RELEASE, gflops=88.5,
)  # fmt: skip
GPU = CPU.model_copy(
    update={"name": "train@gpu", "gpus": (OfferedGpu(name="H100", memory_mb=81_559),) * 2}
)


class Redis:
    """Workers that say they are there."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def say(self, offer: Offer | str, *queues: Queue, silent: bool = False) -> None:
        name = offer if isinstance(offer, str) else offer.name
        for queue in queues:
            key = silence_key(queue) if silent else presence_key(queue)
            self._client.zadd(key, {name: time.time()})
        if isinstance(offer, Offer):
            self._client.set(offer_key(name), offer.model_dump_json(), ex=60)

    def put(self, name: str, text: str) -> None:
        self._client.set(offer_key(name), text)

    def drained(self) -> set[bytes | str]:
        assert self._client.ttl(DRAINED) <= PRESENCE_TTL_S
        return set(self._client.smembers(DRAINED))

    def forget(self) -> None:
        self._client.flushall()


@pytest.fixture
def broker(broker_url: str) -> Iterator[Redis]:
    with redis.Redis.from_url(broker_url) as client:
        yield Redis(client)


def why(lab: Lab, client: httpx.Client, row: JobRow) -> str:
    jobs.add(lab.database, row)
    return str(client.get(f"/api/jobs/{row.id}").json()["waiting_because"])


def test_workers_say_what_they_have_and_run(client: httpx.Client, lab: Lab, broker: Redis) -> None:
    broker.say(GPU, Queue.TRAIN, Queue.EVALUATE)
    broker.say("live@old", Queue.LIVE, silent=True)
    jobs.add(lab.database, row := job_row(name="Mine"))
    jobs.add(lab.database, lone := job_row())
    jobs.claim(lab.database, row.id, lease_s=600, worker=GPU.name)
    jobs.claim(lab.database, lone.id, lease_s=600, worker="node7:4711")
    answer = client.get("/api/workers").json()
    assert answer["broker"] is True
    old, node, gpu = answer["items"]
    assert (gpu["name"], gpu["device"], gpu["gpus"]) == ("train@gpu", "2 × H100", 2)
    assert (gpu["room_mb"], gpu["cores"], gpu["gflops"]) == (81_559, 4, 88.5)
    assert gpu["queues"] == ["train", "evaluate"]
    assert (gpu["version"], gpu["differs"]) == (code_version(), "")
    assert [(run["job"], run["title"]) for run in gpu["runs"]] == [(row.id, "Mine")]
    assert (old["silent"], old["device"], old["drained_at"]) == (True, "", None)
    assert "another version" in old["differs"]
    assert (node["name"], node["heard_at"]) == ("node7:4711", None), "a job with no broker"
    assert client.get(f"/api/jobs/{row.id}").json()["worker"] == "train@gpu"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"release": RELEASE - 1}, "Its code is older: it takes only jobs that such code"),
        ({"release": RELEASE + 1}, "Its code is newer than that of the web"),
        ({"version": "0.3.0+other"}, "Its code is not quite that of the web."),
    ],
)
def test_code_of_another_version_is_said(
    lab: Lab, broker: Redis, changes: dict[str, object], said: str
) -> None:
    broker.say(CPU.model_copy(update=changes), Queue.TRAIN)
    (worker,) = workers.listed(lab).items
    assert worker.differs.startswith(said)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": "../x"}', '{"name": "a", "cores": -1}', "\x00", '{"a":' * 500]
)
def test_what_makes_no_sense_is_nothing_said(lab: Lab, broker: Redis, text: str) -> None:
    broker.say("train@odd", Queue.TRAIN)
    broker.put("train@odd", text)
    (worker,) = workers.listed(lab).items
    assert (worker.name, worker.device, worker.room_mb) == ("train@odd", "", None)


def test_a_drained_worker_is_known_to_sql_and_told_to_the_broker(
    client: httpx.Client, lab: Lab, broker: Redis, settings: Settings
) -> None:
    broker.say(CPU, Queue.TRAIN)
    drained = client.post("/api/workers/train@box/drain")
    assert drained.status_code == 200
    assert (drained.json()["drained_by"], drained.json()["drained_at"] is not None) == (
        "owner", True,
    )  # fmt: skip
    assert broker.drained() == {b"train@box"}
    again = Lab.open(settings)  # as after a restart of the web
    broker.forget()
    reconcile(again)
    assert broker.drained() == {b"train@box"}
    assert [each.name for each in workers.listed(again).items] == ["train@box"]
    again.close()
    assert client.post("/api/workers/train@box/resume").json()["drained_at"] is None
    assert broker.drained() == set()
    assert client.get("/api/workers").json()["items"] == []


@pytest.mark.parametrize(
    ("name", "status"),
    [("train@nowhere", 404), ("a%2Fb", 404), ("%3Cscript%3E", 422), ("x" * 200, 422)],
)
def test_a_worker_that_nobody_knows_is_not_drained(
    client: httpx.Client, name: str, status: int
) -> None:
    for verb in ("drain", "resume"):
        answer = client.post(f"/api/workers/{name}/{verb}")
        problem(answer, status)


def test_why_a_job_finds_no_worker(client: httpx.Client, lab: Lab, broker: Redis) -> None:
    broker.say(CPU, Queue.TRAIN)
    assert why(lab, client, job_row(needs_gpus=1)) == "It needs a GPU: none is here."
    large = why(lab, client, job_row(needs_memory_mb=64_000))
    assert large.startswith("It needs 62.5 GB of memory: the most")
    assert "newer version" in why(lab, client, job_row(release=RELEASE + 1))
    client.post("/api/workers/train@box/drain")
    said = why(lab, client, job_row())
    assert said == "The worker “train@box” is drained, and no other of the queue “train” is there."
    broker.say(GPU, Queue.TRAIN)
    client.post("/api/workers/train@gpu/drain")
    assert why(lab, client, job_row()).startswith("All 2 workers of the queue “train” are drained")
    client.post("/api/workers/train@box/resume")
    said = why(lab, client, job_row(needs_gpus=1))
    assert (
        said
        == "The worker “train@gpu” is drained, and no other of those that could run it is there."
    )
    health = client.get("/api/health").json()
    train = next(each for each in health["queues"] if each["queue"] == "train")
    assert (train["workers"], train["drained"]) == (2, 1)


def test_what_comes_before_a_job_is_said(client: httpx.Client, lab: Lab, broker: Redis) -> None:
    broker.say(CPU, Queue.TRAIN)
    jobs.add(lab.database, first := job_row(owner_id="a" * 32, created_at=1.0))
    said = why(lab, client, job_row(owner_id="a" * 32))
    assert said == "1 job of the same owner comes before it."
    jobs.claim(lab.database, first.id, lease_s=600)
    jobs.add(lab.database, job_row(parent_id="c" * 32, created_at=2.0))
    said = why(lab, client, job_row(parent_id="c" * 32))
    assert said == (
        "The queue “train” is busy: a job runs, and 1 job of the same ablation comes before it."
    )


def test_jobs_that_need_a_gpu_are_told_to_workers_that_have_one(
    client: httpx.Client, lab: Lab, broker_url: str
) -> None:
    body = train_body(stock_dataset(lab))
    body["params"]["device"] = "gpu"
    others = lab.broker.waiting(Queue.TRAIN)
    job = client.post("/api/jobs", json=body).json()
    assert job["needs"]["gpus"] == 1
    assert lab.broker.waiting(Queue.TRAIN) == others
    assert lab.broker.waiting(Queue.TRAIN, Needs(gpus=1)) == 1
    with redis.Redis.from_url(broker_url) as client_of_broker:
        assert client_of_broker.llen(queue_of_gpus(Queue.TRAIN)) == 1


def test_an_idle_worker_hears_again_of_what_it_can_run(lab: Lab, broker: Redis) -> None:
    """Another one may have heard of it first, and have taken something else, or nothing."""
    broker.say(CPU, Queue.TRAIN)
    now = time.time()
    jobs.add(lab.database, job_row(created_at=now - 60, sent_at=now, needs_gpus=1))
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN, Needs(gpus=1)) == 0, "nobody here could run it"
    jobs.add(lab.database, job_row(created_at=now, sent_at=now))
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN) == 0, "its first message may still be on its way"
    jobs.add(lab.database, busy := job_row())
    jobs.claim(lab.database, busy.id, lease_s=600, worker=CPU.name)
    jobs.add(lab.database, job_row(created_at=now - 60, sent_at=now))
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN) == 0, "the worker has a job"
    broker.say(CPU.model_copy(update={"name": "train@free"}), Queue.TRAIN)
    reconcile(lab)
    reconcile(lab)
    assert lab.broker.waiting(Queue.TRAIN) == 1
    assert lab.broker.waiting(Queue.EVALUATE) == 0


def test_idle_workers_hear_of_parts_of_evaluations(lab: Lab, broker: Redis) -> None:
    """As many as are idle: not who hangs, is drained, has a job or a part already, and not who
    serves other queues."""
    named = {name: CPU.model_copy(update={"name": f"evaluate@{name}"}) for name in "abcdef"}
    for name, offer in named.items():
        broker.say(offer, Queue.EVALUATE, silent=name == "b")
    broker.say(CPU, Queue.TRAIN)
    placement.drain(lab.database, named["c"].name, by="ada")
    running = job_row(kind=JobKind.EVALUATE, queue=Queue.EVALUATE)
    jobs.add(lab.database, running)
    claim = jobs.claim(lab.database, running.id, lease_s=600, worker=named["a"].name)
    assert claim is not None
    shards.divide(lab.database, claim, 9, "facts", shared=True)
    assert shards.claim_any(lab.database, "facts", worker=named["d"].name, lease_s=60)
    reconcile(lab)
    reconcile(lab)
    assert lab.broker.waiting(Queue.EVALUATE) == 2, "e and f"
    shards.drop(lab.database, claim, first=0)
    broker.forget()
    for offer in named.values():
        broker.say(offer, Queue.EVALUATE)
    reconcile(lab)
    assert lab.broker.waiting(Queue.EVALUATE) == 0, "nothing is left to do"


def test_a_drained_worker_takes_no_part_of_an_evaluation(lab: Lab) -> None:
    jobs.add(lab.database, row := job_row(kind=JobKind.EVALUATE, queue=Queue.EVALUATE))
    claim = jobs.claim(lab.database, row.id, lease_s=600, worker="evaluate@has-it")
    assert claim is not None
    shards.divide(lab.database, claim, 4, "facts", shared=True)
    for name in (CPU.name, "evaluate@has-it"):
        placement.drain(lab.database, name, by="ada")
    assert shards.claim_any(lab.database, "facts", worker=CPU.name, lease_s=60) is None
    assert shards.claim_any(lab.database, "facts", worker="evaluate@other", lease_s=60)
    own = shards.claim_of(lab.database, claim, worker="evaluate@has-it", lease_s=60)
    assert own is not None, "who has the evaluation ends it"
    placement.resume(lab.database, CPU.name)
    assert shards.claim_any(lab.database, "facts", worker=CPU.name, lease_s=60)


def test_workers_that_are_gone_for_good_are_forgotten(lab: Lab, broker: Redis) -> None:
    placement.drain(lab.database, "train@gone", by="ada")
    clear(lab)
    assert placement.drains(lab.database)
    workers.forget_drains(lab, older_than_s=-1)
    assert not placement.drains(lab.database)
    broker.say(CPU, Queue.TRAIN)
    placement.drain(lab.database, CPU.name, by="ada")
    workers.forget_drains(lab, older_than_s=-1)
    assert placement.drains(lab.database).keys() == {CPU.name}


def test_while_the_broker_is_away_nobody_is_gone_for_good(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement.drain(lab.database, CPU.name, by="ada")
    nowhere = Broker(lab.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    workers.forget_drains(replace(lab, broker=nowhere), older_than_s=-1)
    nowhere.close()
    assert placement.drains(lab.database).keys() == {CPU.name}


@pytest.mark.parametrize("path", ["/workers", "/workers/rows", "/api/workers", "/api/health"])
def test_the_broker_is_asked_once_for_all_workers(
    client: httpx.Client, lab: Lab, broker: Redis, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It may be far away: each further question takes a round trip more."""
    broker.say(CPU, Queue.TRAIN)
    broker.say(GPU, Queue.EVALUATE, Queue.TRAIN)
    assert client.get(path).status_code == 200  # connected
    sent, send = [], AbstractConnection.send_packed_command

    def note(connection: AbstractConnection, command: Any, **others: Any) -> None:
        if not threading.current_thread().name.startswith("asyncio_"):  # the lab's chores
            sent.append(command)
        send(connection, command, **others)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", note)
    answer = client.get(path)
    assert len(sent) == 1
    if path == "/api/workers":
        assert [each["gpus"] for each in answer.json()["items"]] == [0, 2]


def test_a_scaler_reads_how_long_jobs_wait_by_need(client: httpx.Client, lab: Lab) -> None:
    now = time.time()
    for age, gpus in ((300.0, 0), (100.0, 0), (50.0, 1)):
        jobs.add(lab.database, job_row(created_at=now - age, needs_gpus=gpus))
    found = figures(client)
    waiting = {
        labels[:0:-1]: value for labels, value in found.items()
        if labels[0] == "lab_queue_waiting_by_need"
    }  # fmt: skip
    assert {labels: value for labels, value in waiting.items() if value} == {
        ("train", "any"): 2, ("train", "gpu"): 1,
    }  # fmt: skip
    assert len(waiting) == 2 * len(Queue), "also of what does not wait"
    assert found["lab_queue_age_seconds", "any", "train"] == pytest.approx(300, abs=30)
    assert found["lab_queue_age_seconds", "gpu", "train"] == pytest.approx(50, abs=30)


def test_a_priority_is_given_and_changed(client: httpx.Client, lab: Lab) -> None:
    body = train_body(stock_dataset(lab))
    job = client.post("/api/jobs", json={**body, "priority": "low"}).json()
    assert job["priority"] == "low"
    assert client.post("/api/jobs", json={**body, "priority": "urgent"}).status_code == 422
    changed = client.patch(f"/api/jobs/{job['id']}", json={"priority": "high", "name": "Now"})
    assert (changed.json()["priority"], changed.json()["name"]) == ("high", "Now")
    client.post(f"/api/jobs/{job['id']}/cancel")
    over = client.patch(f"/api/jobs/{job['id']}", json={"priority": "low"})
    assert over.status_code == 409
    same = client.patch(f"/api/jobs/{job['id']}", json={"priority": "high", "note": "x"})
    assert same.status_code == 200, "a form says it again"


def test_a_priority_is_part_of_what_a_key_repeats(client: httpx.Client, lab: Lab) -> None:
    body, key = train_body(stock_dataset(lab)), {"Idempotency-Key": "k"}
    first = client.post("/api/jobs", json=body, headers=key)
    said = client.post("/api/jobs", json={**body, "priority": "normal"}, headers=key)
    assert said.json()["id"] == first.json()["id"]
    assert (
        client.post("/api/jobs", json={**body, "priority": "low"}, headers=key).status_code == 409
    )


def test_a_training_needs_room_for_its_images(client: httpx.Client, lab: Lab) -> None:
    dataset = stock_dataset(lab)
    with lab.database.writing() as session:
        row = session.get_one(DatasetRow, dataset)
        row.report = {**row.report, "train_images": 100_000, "image_size": 224}
    job = client.post("/api/jobs", json=train_body(dataset)).json()
    assert job["needs"] == {"gpus": 0, "memory_mb": 100_000 * 3 * 224**2 // 2**20}
    with lab.database.reading() as session:
        assert session.get_one(JobRow, job["id"]).release == RELEASE
