"""What processes say of themselves: one record a line, whatever came from outside.

The standard library alone; it knows neither `app` nor `worker`, which both write so.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

request: ContextVar[str] = ContextVar("request", default="")
"""The id of the request on whose behalf this runs, also long after it; empty for none."""

_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = 20_000
"""Characters of a message or of where an error came from."""


_MOST_ALIKE, _WITHIN_S = 100, 10.0
"""Warnings and errors of one line of code that are written in so many seconds."""


class Form(StrEnum):
    """How records are written."""

    TEXT = "text"
    """For a person at a terminal: warnings and errors."""
    JSON = "json"
    """For programs: also what is asked, and when jobs begin and end."""


def request_id(given: str) -> str:
    """What a request is called: as whoever asks has called it, where that is a plain name."""
    return given if _REQUEST.fullmatch(given) else secrets.token_hex(8)


def plain(text: str) -> str:
    """A text on one line, without anything that a terminal obeys."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line_of(form: Form, level: str, message: str, **more: Any) -> str:
    """A record of these facts; those that are empty are left out."""
    if form is Form.TEXT:
        return plain(message)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {"time": now, "level": level, **more, "message": message[:_LONGEST]}
    return json.dumps({key: value for key, value in record.items() if value not in ("", None)})


class _Records(logging.Formatter):
    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        level, message = record.levelname.lower(), record.getMessage()
        error = self.formatException(record.exc_info) if record.exc_info else ""
        if self._form is Form.TEXT:
            return "\n".join((plain(f"{level}: {message}"), *map(plain, error.splitlines())))
        facts = {"request": request.get(), **getattr(record, "facts", {})}
        error = error[-_LONGEST:]
        return line_of(self._form, level, message, logger=record.name, **facts, error=error)


class _Paced(logging.Filter):
    """One fault that repeats itself, as of a server without a descriptor left, fills no disk."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        where = record.name, record.pathname, record.lineno
        since, count = self._seen.get(where, (record.created, 0))
        if record.created - since >= _WITHIN_S:
            since, count = record.created, 0
        self._seen[where] = since, count + 1
        if count == _MOST_ALIKE:
            record.msg = f"{record.getMessage()} (More like it is left out for {_WITHIN_S:.0f} s.)"
            record.args = None
        return count <= _MOST_ALIKE


def set_up(form: Form) -> None:
    """Have this process write its records so, on its standard error, and nothing otherwise."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Records(form))
    handler.addFilter(_Paced())
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.WARNING
    logging.captureWarnings(True)
    for name in ("lab", "worker"):
        logging.getLogger(name).setLevel(logging.INFO if form is Form.JSON else logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "celery"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
