"""Hears which jobs have new events, so that open event streams need not ask SQL all the time.

The bell carries nothing but a job's id, and may stay silent: whoever listens reads SQL, and looks
there again after a while in any case.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.contracts.jobs import BELL

_AGAIN_AFTER_S = 1.0


class Bell:
    """One Redis subscription for all streams of the process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._news: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening: Counter[str] = Counter()
        self.closed = False
        """Whether the process is about to end, and its streams with it."""

    @contextmanager
    def listening(self, job_id: str, account: str = "") -> Iterator[asyncio.Event]:
        """An event that is set at each ring for the job, and when the bell closes. `account`: for
        whom."""
        news = asyncio.Event()
        self._news[job_id].add(news)
        self._listening[account] += 1
        try:
            yield news
        finally:
            self._listening[account] -= 1
            self._listening += Counter()  # without those at zero
            self._news[job_id].discard(news)
            if not self._news[job_id]:
                del self._news[job_id]

    async def hear(self) -> None:
        """Pass rings on until cancelled; come back after the broker was away."""
        while True:
            with suppress(RedisError, OSError):
                await self._subscribe()
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _subscribe(self) -> None:
        async with Redis.from_url(self._url) as client, client.pubsub() as subscription:
            await subscription.subscribe(BELL)
            async for message in subscription.listen():
                if message["type"] == "message":
                    self._ring(message["data"].decode(errors="replace"))

    def _ring(self, job_id: str) -> None:
        for news in self._news.get(job_id, ()):
            news.set()

    @property
    def listeners(self) -> int:
        return self._listening.total()

    def listeners_of(self, account: str) -> int:
        """Open streams of an account."""
        return self._listening[account]

    def close(self) -> None:
        """Wake every listener to see that the process ends."""
        self.closed = True
        for job_id in list(self._news):
            self._ring(job_id)
