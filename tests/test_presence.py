"""`python -m app.queue`: what a container's health check says of its own worker."""

from __future__ import annotations

import socket
import time

import pytest
import redis

from app import queue
from app.contracts.jobs import Queue, presence_key, silence_key
from app.settings import Settings

HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("key", "name", "code"),
    [
        (presence_key(Queue.TRAIN), f"train@{HERE}", 0),
        (presence_key(Queue.TRAIN), f"train-2@{HERE}", 0),
        (presence_key(Queue.TRAIN), "train@elsewhere", 1),
        (presence_key(Queue.LIVE), f"live@{HERE}", 1),
        (silence_key(Queue.TRAIN), f"train@{HERE}", 1),
    ],
    ids=["its own", "of several", "another machine's", "another queue's", "it hangs"],
)
def test_a_worker_is_healthy_by_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, key: str, name: str, code: int
) -> None:
    monkeypatch.setattr(queue, "settings", lambda: settings)
    assert queue.main(["train"]) == 1
    with redis.Redis.from_url(settings.redis_url or "") as broker:
        broker.zadd(key, {name: time.time()})
    assert queue.main(["train"]) == code


def test_without_a_broker_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "settings", lambda: Settings(redis_url="unix:///nowhere.sock"))
    assert queue.main(["train"]) == 1
