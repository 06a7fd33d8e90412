"""A module runs in a process of its own, since what it reads is hostile (decision 19)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_POLL_S = 0.2
_ROOT = Path(__file__).resolve().parents[2]
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


class TookTooLongError(Exception):
    """It was not done in time, on the clock or on the processor."""


class BrokeDownError(Exception):
    """It ended without a word; `code` is how, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run(module: str, *arguments: object, seconds: int, check: Callable[[], None]) -> dict[str, Any]:
    """What a module says in its last line, which is JSON; `check` is called again and again.

    It gets three variables of the environment, and no file of this process's. Raises
    TookTooLongError, BrokeDownError, and what `check` raises; the process is gone then.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=_ROOT,
        env={name: os.environ[name] for name in _NEEDED if name in os.environ}
        | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait(process, seconds, check)
        assert process.stdout is not None
        said = process.stdout.read(2**16)
    finally:
        _end(process)
    try:
        reply: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        if process.returncode == -signal.SIGXCPU:
            raise TookTooLongError from None
        raise BrokeDownError(process.returncode) from None
    return reply


def _wait(process: subprocess.Popen[bytes], seconds: int, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            check()
            if time.monotonic() < deadline:
                continue
            raise TookTooLongError from None
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
