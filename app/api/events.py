"""A job's events as they happen (server-sent events).

Rows in SQL are the log, and their numbers are the events' ids; so a client that comes back with the
last id it saw misses nothing and sees nothing twice, whatever happened in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.admission.callers import caller_of, is_still_inside
from app.admission.routes import ByMethod
from app.contracts.jobs import JobStatus
from app.deps import BellDep, IdPath, LabDep
from app.errors import TooMany, Unavailable
from app.services import jobs
from app.store.job_queries import StoredEvent

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ByMethod)

_LOOK_AGAIN_S = 1.0
"""How late an event comes when the bell is silent."""
_MOST_STREAMS = 256
"""Open at once; each asks SQL every second."""
_LAST_SEQ = 2**53 - 1
_ASK_AGAIN_S = 5.0
"""For how long a stream goes on whose session is over."""


@dataclass(frozen=True)
class _Position:
    job_id: str
    seen: int
    account: str
    """Whose stream it is; empty of the owner's."""


def _position(
    request: Request,
    lab: LabDep,
    bell: BellDep,
    job_id: IdPath,
    after: Annotated[int, Query(ge=0, le=_LAST_SEQ, description="Start after this event.")] = 0,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=_LAST_SEQ, description="What a reconnecting client saw last."),
    ] = None,
) -> _Position:
    """Where the stream starts; nothing at all (204) when the client has seen the job's end."""
    if bell.listeners >= _MOST_STREAMS:
        raise Unavailable(
            f"{_MOST_STREAMS} streams of events are open already.",
            hint="Close some, or read the job itself from time to time.",
        )
    caller = caller_of(request)
    account = "" if caller is None else caller.account
    if account and bell.listeners_of(account) >= lab.settings.user_streams:
        raise TooMany(
            f"{lab.settings.user_streams} of your streams of events are open already.",
            hint="Close some pages, or read the job itself from time to time. Who runs the lab can "
            "raise LAB_USER_STREAMS.",
        )
    seen = after if last_event_id is None else last_event_id
    if jobs.get(lab, job_id).status.is_final and not jobs.events(lab, job_id, seen):
        raise HTTPException(204)
    return _Position(job_id, seen, account)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={204: {"description": "The job is over and the client has seen all its events."}},
)
async def events(
    request: Request,
    lab: LabDep,
    bell: BellDep,
    start: Annotated[_Position, Depends(_position)],
) -> AsyncIterator[ServerSentEvent]:
    """The job's events from the beginning, or after `Last-Event-ID`, until the job is over.

    `event` is the kind (`state`, `progress`, `metrics`, `log`, `preview`), `id` its number in the
    job, `data` the event with the Unix time `at`. A stream ends with the session it was opened in.
    """
    job_id, seen, asked = start.job_id, start.seen, time.monotonic()
    with bell.listening(job_id, start.account) as news:
        while not bell.closed:
            if time.monotonic() - asked > _ASK_AGAIN_S:
                if not await is_still_inside(request):
                    return
                asked = time.monotonic()
            news.clear()  # before reading: a ring in between is then not lost
            batch = await run_in_threadpool(jobs.events, lab, job_id, seen)
            for event in batch:
                yield _sent(event)
                if _is_last(event):
                    return
                seen = event.seq
            if not batch:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), _LOOK_AGAIN_S)


def _sent(event: StoredEvent) -> ServerSentEvent:
    return ServerSentEvent(
        event=event.body["type"], id=str(event.seq), data={**event.body, "at": event.at}
    )


def _is_last(event: StoredEvent) -> bool:
    return event.body["type"] == "state" and JobStatus(event.body["status"]).is_final
