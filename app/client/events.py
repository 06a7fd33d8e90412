"""A job's events over server-sent events, across broken connections."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx
from pydantic import ValidationError

from app.client.errors import not_understood, refused, unreachable
from app.client.transport import PASSING, Transport
from app.contracts.events import EVENT, Event, MetricsEvent, StateEvent

_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 15.0, 15.0)
"""Before each attempt to connect again; a lab that is started anew is back by then."""


class _Sent(NamedTuple):
    number: int
    event: Event


def follow(transport: Transport, job_id: str) -> Iterator[Event]:
    """The job's events from the first to the last, as they happen, each one once.

    A connection that breaks is made again after the last event that came. Raises LabError for an
    unknown job, and when the lab stays out of reach for a minute.
    """
    seen, failures = 0, 0
    while True:
        problem: httpx.TransportError = httpx.RemoteProtocolError("the stream ended too early")
        try:
            with transport.stream(
                f"/api/jobs/{job_id}/events", {"Last-Event-ID": str(seen)}
            ) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                for number, event in _events(answer):
                    seen, failures = number, 0
                    yield event
                    if isinstance(event, StateEvent) and event.status.is_final:
                        return
        except httpx.TransportError as error:
            problem = error
        if failures == len(_WAITS_S):
            raise unreachable(transport.url, problem) from problem
        time.sleep(_WAITS_S[failures])
        failures += 1


def _events(answer: httpx.Response) -> Iterator[_Sent]:
    """Nothing where the lab is out of order for the moment. Raises LabError, TransportError."""
    if answer.status_code in PASSING:
        return
    if not answer.is_success:
        answer.read()
        raise refused(answer)
    fields: dict[str, str] = {}
    for line in _lines(answer.iter_bytes()):
        name, _, value = line.partition(":")
        if name:  # a line without one is a comment, which keeps the connection open
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield _parsed(fields)
            fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines. Only line feeds end one: a log line may hold other characters that look so."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")


def _parsed(fields: dict[str, str]) -> _Sent:
    try:
        body: dict[str, Any] = json.loads(fields["data"])
        del body["at"]
        if body["type"] == MetricsEvent.model_fields["type"].default:
            # JSON has no NaN; the lab sends null.
            body["values"] = {k: math.nan if v is None else v for k, v in body["values"].items()}
        return _Sent(int(fields["id"]), EVENT.validate_python(body))
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise not_understood("an event") from error
