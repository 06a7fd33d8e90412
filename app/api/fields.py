"""Inputs that several routes share, checked at the border."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar, cast

from fastapi import Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from app.contracts.params import Name
from app.errors import InvalidFields, InvalidInput, TooLarge
from app.services import readers

MOST_VALUES = 10_000
"""Values in a body. Each may be wrong, and an error takes kilobytes until it is told."""
_MOST_ERRORS = 100
"""Told of one body."""
_READS_WITHIN_S = 20.0

M = TypeVar("M", bound=BaseModel)

PageSize = Annotated[int, Query(ge=1, le=100)]
ExactName = Annotated[Name | None, Query(description="Only what is called exactly so.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body gives the same job; with another one, 409.",
    ),
]


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises InvalidFields at the first key that appears again."""
    body = dict(pairs)
    if len(body) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise InvalidFields([(repeated[:80], "appears twice")], hint="Name each field once.")
    return body


def strict_json(adapter: TypeAdapter[Any], *, tagged: bool) -> Callable[[Request], Awaitable[Any]]:
    """A dependency that reads a body, and refuses what the framework lets pass in one.

    Repeated keys, of which the last one would win; numbers written as strings. NaN and infinity
    are refused by the fields themselves, which then are named. `tagged`: whether a tag tells the
    kinds of body apart; errors would name it too.
    """

    async def read(request: Request) -> Any:
        _check_type(request.headers.get("content-type", ""))
        body = await request.body()
        check_count(body, MOST_VALUES)
        return await run_in_threadpool(read_json, adapter, body, tagged=tagged)

    return read


def large_json(model: type[M], *, most_values: int) -> Callable[[Request], Awaitable[M]]:
    """The same for a body of many megabytes, which is read in a process of its own."""

    async def read(request: Request) -> M:
        _check_type(request.headers.get("content-type", ""))
        body = await request.body()
        check_count(body, most_values)
        try:
            return await run_in_threadpool(readers.read, _READS_WITHIN_S, _read_model, model, body)
        except readers.ExhaustedError:
            raise TooLarge(
                "Reading the body takes more time or memory than the lab gives to one request.",
                hint="Send what the lab has exported, as it is.",
                field="body",
            ) from None

    return read


def check_count(body: bytes, most: int) -> None:
    """Before anything is made of it: a value takes far more memory than its two bytes."""
    if sum(map(body.count, (b",", b"[", b"{"))) > most:
        raise TooLarge(f"The body has more than {most:,} values.", hint="Send less.", field="body")


def _read_model(model: type[M], body: bytes) -> M:
    return cast(M, read_json(TypeAdapter(model), body, tagged=False))


def _check_type(content_type: str) -> None:
    """Forms of other sites can send any bytes, but not under this type."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise InvalidInput(
            "The body has to be JSON, and to say so.",
            hint="Send it with Content-Type: application/json.",
            field="body",
        )


def read_json(adapter: TypeAdapter[Any], body: bytes, *, tagged: bool) -> Any:
    with suppress(ValueError, RecursionError):  # no JSON: the adapter says so
        json.loads(body, object_pairs_hook=named_once)
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[:_MOST_ERRORS]
        own = [{**one, "loc": ("body", *one["loc"][tagged:])} for one in found]
        raise RequestValidationError(own) from None
