"""The bell that event streams hear."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

import pytest
import redis

from app import bell
from app.bell import Bell
from app.contracts.jobs import BELL
from bench.lab_process import free_port
from bench.proxy import Proxy


async def _rings(bell: Bell, broker_url: str, within_s: float) -> bool:
    """Whether a ring is heard, of those that somebody sends again and again."""
    deadline = time.monotonic() + within_s
    with redis.Redis.from_url(broker_url) as client, bell.listening("job") as news:
        while time.monotonic() < deadline and not news.is_set():
            client.publish(BELL, "job")
            await asyncio.sleep(0.05)
        return news.is_set()


async def _loses_its_connection(broker_url: str) -> tuple[bool, bool]:
    """Whether it hears before and after its connection leads nowhere for ever, which nobody says:
    as when the broker's host lost its power."""
    found = re.fullmatch(r"unix://:(\S+)@(\S+)\?db=0", broker_url)
    assert found is not None
    proxy = Proxy(port := free_port(), found[2])
    heard = Bell(f"redis://:{found[1]}@127.0.0.1:{port}/0")
    hearing = asyncio.create_task(heard.hear())
    try:
        before = await _rings(heard, broker_url, 60.0)
        proxy.silent(True)
        proxy.silent(False)
        return before, await _rings(heard, broker_url, 60.0)
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        proxy.down()


def test_it_hears_again_after_its_broker_was_lost_without_a_word(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "_SILENT_S", 0.5)
    assert asyncio.run(_loses_its_connection(broker_url)) == (True, True)


def test_it_stays_while_nothing_happens(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "_SILENT_S", 0.2)

    async def clients() -> list[int]:
        """The ids of its connection, as the broker counts them, over ten silences."""
        hearing = asyncio.create_task(Bell(broker_url).hear())
        ids = []
        with redis.Redis.from_url(broker_url) as client:
            for _ in range(10):
                await asyncio.sleep(0.2)
                ids += [int(each["id"]) for each in client.client_list(_type="pubsub")]
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        return ids

    assert len(set(asyncio.run(clients()))) == 1
