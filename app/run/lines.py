"""The lines of the lab's processes: on the standard error, and in a file that does not grow."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import IO

import journal
from app.settings import Settings

_KEPT = 5
"""Files that were full, beside the one that is written to."""

_lock = threading.Lock()


class _File(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), 0o600)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is no reason to say more."""


class _Lines:
    """How and where lines are written. Before the settings are known: as text, to nobody else."""

    form = journal.Form.TEXT
    file: _File | None = None


def set_up(settings: Settings) -> None:
    """Write as the settings say from now on. Raises OSError where the file cannot be written."""
    _Lines.form = settings.log
    if settings.log_file is not None:
        size = settings.log_file_mb * 2**20
        _Lines.file = _File(settings.log_file, maxBytes=size, backupCount=_KEPT, encoding="utf-8")
        if settings.log is journal.Form.TEXT:  # records of JSON have it already
            _Lines.file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))


def say(text: str, *, source: str = "lab") -> None:
    """Write one line. A terminal that was closed is no reason to stop the lab."""
    _write(text, source, "info")


def announce(text: str) -> None:
    """Print the line that a person, or a script, waits for."""
    with _lock:
        try:
            print(text, flush=True)
        except (OSError, ValueError):
            return


def relay(stream: IO[bytes], source: str) -> None:
    """Pass on a process's lines until its end, in a thread of their own."""

    def pump() -> None:
        with stream:
            while line := stream.readline(2**20):
                if text := line.decode(errors="replace").rstrip():
                    _write(text, source, "warning")

    threading.Thread(target=pump, name=f"log of {source}", daemon=True).start()


def _write(text: str, source: str, level: str) -> None:
    line = _line(text, source, level)
    with _lock:
        if _Lines.file is not None:
            _Lines.file.emit(logging.makeLogRecord({"msg": line}))
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def _line(text: str, source: str, level: str) -> str:
    """A record that says whose it is: the process's own, else one of its line."""
    if _Lines.form is journal.Form.TEXT:
        return journal.plain(f"[{source}] {text}")
    try:
        record = json.loads(text)
        return json.dumps({"time": record["time"], "process": source, **record})
    except (ValueError, TypeError, KeyError, RecursionError):
        return journal.line_of(_Lines.form, level, text, process=source)
