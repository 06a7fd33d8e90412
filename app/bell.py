"""Hears which jobs have new events, so that open event streams need not ask SQL all the time.

The bell carries nothing but a job's id, and may stay silent: whoever listens reads SQL, and looks
there again after a while in any case.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.contracts.jobs import BELL
from app.errors import TooMany, Unavailable

MOST_STREAMS = 256
"""Open at once; each asks SQL every second."""
_AGAIN_AFTER_S = 1.0
_SILENT_S = 10.0
"""After so long without a ring the broker is asked whether it is there, and has as long to answer:
a host that lost its power closes no connection."""
_CONNECT_S, _ANSWER_S = 2.0, 5.0


class Bell:
    """One Redis subscription for all streams of the process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._places: Counter[str] = Counter()
        self._places_lock = threading.Lock()
        self._news: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closed = False
        """Whether the process is about to end, and its streams with it."""

    @contextmanager
    def place(self, account: str, most: int) -> Iterator[None]:
        """Room for a stream, from before it begins to its end: a thousand clients at once are all
        let in before the first of them listens.

        Args:
            account: whose stream it is; empty of the owner's, who is not limited.
            most: streams that one account may have open.

        Raises Unavailable and TooMany.
        """
        with self._places_lock:
            if self._places.total() >= MOST_STREAMS:
                raise Unavailable(
                    f"{MOST_STREAMS} streams of events are open already.",
                    hint="Close some, or read the job itself from time to time.",
                )
            if account and self._places[account] >= most:
                raise TooMany(
                    f"{most} of your streams of events are open already.",
                    hint="Close some pages, or read the job itself from time to time. Who runs the "
                    "lab can raise LAB_USER_STREAMS.",
                )
            self._places[account] += 1
        try:
            yield
        finally:
            with self._places_lock:
                self._places[account] -= 1
                self._places += Counter()  # without those at zero

    def places_of(self, account: str) -> int:
        """Open streams of an account."""
        return self._places[account]

    @contextmanager
    def listening(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each ring for the job, and when the bell closes."""
        news = asyncio.Event()
        self._news[job_id].add(news)
        try:
            yield news
        finally:
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
        """Until the broker is not there any more."""
        opened = Redis.from_url(
            self._url, socket_connect_timeout=_CONNECT_S, socket_timeout=_ANSWER_S
        )
        async with opened as client, client.pubsub() as subscription:
            await subscription.subscribe(BELL)
            asked = False
            while True:
                message = await subscription.get_message(timeout=_SILENT_S)
                if message is None and asked:
                    return
                if asked := message is None:
                    await subscription.ping()
                elif message["type"] == "message":
                    self._ring(message["data"].decode(errors="replace"))

    def _ring(self, job_id: str) -> None:
        for news in self._news.get(job_id, ()):
            news.set()

    def close(self) -> None:
        """Wake every listener to see that the process ends."""
        self.closed = True
        for job_id in list(self._news):
            self._ring(job_id)
