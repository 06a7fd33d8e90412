"""The webhook: one address that is told of every job that ends, at least once.

A task of the web process sends the news; jobs and workers know nothing of it. A lab without a
webhook does not import this: an HTTP client takes 6 MB.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import httpx
from pydantic import HttpUrl

from app.contracts.announcements import Announcement
from app.services.announcing import announcement
from app.services.lab import Lab
from app.settings import VERSION
from app.store import announcements as store
from app.store.tables import JobRow

_LOG = logging.getLogger("lab.webhook")
# It writes every address that it asks into its log, and this one may be a password.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Pace:
    """How long the webhook is waited for, in seconds."""

    look_s: float = 2.0
    """Between two looks for jobs that ended."""
    answer_s: float = 10.0
    """For the whole of an answer."""
    first_s: float = 2.0
    """After a failure; twice that after the next one."""
    most_s: float = 300.0
    """After many failures."""


class Announcer:
    """Tells one address of the jobs that ended, one after the other, oldest first.

    News that is not taken goes behind the others, and is tried again for a week.
    """

    def __init__(self, lab: Lab, url: HttpUrl, pace: Pace | None = None) -> None:
        self._lab, self._url, self._pace = lab, url, pace or Pace()
        self._last = (0.0, "")
        self._failures = 0
        """One after the other, with nothing taken between."""

    async def run(self) -> None:
        """Until cancelled."""
        unkept = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            limits=unkept, timeout=None, headers={"User-Agent": f"agkd-bml-lab/{VERSION}"}
        ) as client:
            while True:
                await asyncio.sleep(await self._next(client))

    async def _next(self, client: httpx.AsyncClient) -> float:
        """Announce one job; returns after how many seconds to go on."""
        try:
            job = await asyncio.to_thread(store.due, self._lab.database, after=self._last)
            if job is None:
                self._failures = 0
                return self._pace.look_s
            assert job.finished_at is not None
            self._last = (job.finished_at, job.id)
            failure = await self._send(client, announcement(self._lab, job))
            await self._note(job, failure)
        except Exception:
            self._failures += 1
            if self._failures == 1:
                _LOG.exception("The webhook cannot be told; the lab tries again.")
        if not self._failures:
            return 0.0
        return min(self._pace.most_s, self._pace.first_s * 2.0 ** min(self._failures - 1, 30))

    async def _send(self, client: httpx.AsyncClient, news: Announcement) -> str:
        """Why it was not taken, in words that say nothing of the address; empty when it was."""
        try:
            async with asyncio.timeout(self._pace.answer_s):
                request = client.build_request(
                    "POST",
                    str(self._url),
                    content=news.model_dump_json(),
                    headers={"Content-Type": "application/json"},
                )
                answer = await client.send(request, stream=True)
                await answer.aclose()
        except (TimeoutError, httpx.TimeoutException):
            return f"did not answer within {self._pace.answer_s:g} s"
        except httpx.ConnectError:
            return "cannot be reached"
        except httpx.HTTPError as error:
            return f"broke the connection ({type(error).__name__})"
        if answer.is_success:
            return ""
        status = answer.status_code
        return f"answered {status} {httpx.codes.get_reason_phrase(status)}".strip()

    async def _note(self, job: JobRow, failure: str) -> None:
        if failure:
            await asyncio.to_thread(store.not_taken, self._lab.database, failure)
            self._failures += 1
            if self._failures == 1:
                _LOG.warning("The webhook at %s %s; the lab tries again.", self._url.host, failure)
            return
        if self._failures:
            _LOG.warning("The webhook at %s takes news again.", self._url.host)
        self._failures = 0
        await asyncio.to_thread(store.taken, self._lab.database, job.id)
