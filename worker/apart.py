"""A module runs in a process of its own, since what it reads is hostile (decision 19)."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from confinement import environment

_POLL_S = 0.2
_ROOT = Path(__file__).resolve().parents[1]
_PIPE = 2**20
"""Bytes on their way: a batch of pictures in one go."""
_MOST_SAID = 2**24
"""Bytes."""


class TookTooLongError(Exception):
    """It was not done in time, on the clock or on the processor."""


class BrokeDownError(Exception):
    """It ended without a word; `code` is how, negative for a signal."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


def start(
    module: str, *arguments: object, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """It gets few variables of the environment, and no file of this process's."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=_ROOT,
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        pipesize=_PIPE,
        start_new_session=True,
    )


def ends_of(process: subprocess.Popen[bytes]) -> tuple[Connection, Connection]:
    """The ways of messages to a process that was started with `stdin=PIPE`, and back."""
    assert process.stdin is not None
    assert process.stdout is not None
    return (
        Connection(os.dup(process.stdin.fileno()), readable=False),
        Connection(os.dup(process.stdout.fileno()), writable=False),
    )


def run(
    module: str,
    *arguments: object,
    seconds: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """What a module says in its last line, which is JSON; `check` is called again and again.

    Lines before it may be `[done, total]`, which `progress` is told. Raises TookTooLongError,
    BrokeDownError, and what `check` and `progress` raise; the process is gone then.
    """
    process = start(module, *arguments)
    said: Any = None
    try:
        for line in _lines(process, seconds, check):
            said = _parsed(line)
            match said:
                case [int(done), int(total)]:
                    progress(done, total)
    finally:
        end(process)
    if not isinstance(said, dict):
        if process.returncode == -signal.SIGXCPU:
            raise TookTooLongError
        raise BrokeDownError(process.returncode)
    return said


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lines(
    process: subprocess.Popen[bytes], seconds: int, check: Callable[[], None]
) -> Iterator[bytes]:
    """What it says, until it ends."""
    assert process.stdout is not None
    deadline, rest, length, speaks = time.monotonic() + seconds, b"", 0, True
    while speaks or process.poll() is None:
        if not speaks:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
        elif select.select([process.stdout], [], [], _POLL_S)[0]:
            said = os.read(process.stdout.fileno(), 2**16)
            speaks, length = bool(said), length + len(said)
            *lines, rest = (rest + said).split(b"\n")
            yield from lines
        check()
        if time.monotonic() > deadline or length > _MOST_SAID:
            raise TookTooLongError


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it, with whatever it has started, where it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
