"""Processes: one that is started again with patience, and groups that end for certain.

Every process of the lab leads a group of its own, named by its pid. `watchdog` is a process too:
it outlives the supervisor by moments, and ends what a killed one leaves.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import app
from app.run.lines import relay, say

ROOT = Path(app.__file__).resolve().parent.parent
"""Where `app` and `worker` are found; every process runs here."""

GRACE_S = 20.0
"""How long a worker may take to put its job back with a checkpoint."""

_TICK_S = 0.05
_LONGEST_PAUSE_S = 30.0
_STABLE_AFTER_S = 60.0


class Process(Protocol):
    """Of `subprocess.Popen`, what is asked here."""

    @property
    def pid(self) -> int: ...

    @property
    def stdout(self) -> IO[bytes] | None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


class Child:
    """A process in a session of its own, so that Ctrl-C reaches the supervisor only.

    `pid` is also the number of its process group; None while it does not run.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path = ROOT
    ) -> None:
        self.name = name
        self.failures = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._cwd = cwd
        self._process: Process | None = None
        self._started = 0.0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._process = self._begin()
        assert self._process.stdout is not None
        self._started = time.monotonic()
        relay(self._process.stdout, self.name)

    def _begin(self) -> Process:
        return self._open(stdin=subprocess.DEVNULL)

    def _open(self, stdin: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ended(self) -> bool:
        """Whether the first process is over."""
        return self._process is None or self._process.poll() is not None

    def forget(self) -> None:
        """Drop an ended process, and end what it left in its group."""
        assert self._process is not None
        kill_group(self._process.pid)
        self._process.wait()
        self._process = None

    def tend(self) -> bool:
        """Start it again when it ended, later each time; whether anything changed."""
        if self._process is not None:
            if not self.ended():
                return False
            self._mourn(self._process.wait())
            return True
        if time.monotonic() < self._not_before:
            return False
        self.start()
        return True

    def _mourn(self, code: int) -> None:
        now = time.monotonic()
        self.failures = 1 if now - self._started > _STABLE_AFTER_S else self.failures + 1
        pause = min(_LONGEST_PAUSE_S, 2.0 ** (self.failures - 1))
        self._not_before = now + pause
        how = f"signal {-code}" if code < 0 else f"code {code}"
        say(f"{self.name} ended ({how}); it starts again in {pause:.0f} s")
        self.forget()


def send(pid: int, signum: signal.Signals) -> None:
    """Signal a group's first process; one that is gone already is fine."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def kill_group(pid: int) -> None:
    """End a group with everything that its first process started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS answers "not permitted" for a group of which only zombies are left.
        return


def group_is_gone(pid: int) -> bool:
    """Whether no process of the group is left; a zombie that nobody collects counts as left."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False


def stop(
    pids: Sequence[int],
    *,
    grace_s: float,
    is_gone: Callable[[int], bool] = group_is_gone,
    hurry: Callable[[], bool] = lambda: False,
) -> None:
    """Ask the first process of each group to end, wait, then end what is left of the groups.

    Only the first process is asked: a worker's own children must finish what it tells them to.
    `hurry` cuts the wait short.
    """
    for pid in pids:
        send(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while not all(is_gone(pid) for pid in pids):
        if time.monotonic() > deadline or hurry():
            break
        time.sleep(_TICK_S)
    for pid in pids:
        kill_group(pid)


def watchdog() -> None:
    """End the groups that were named last, once whoever names them is gone, by whatever way.

    Each line on the standard input names the groups of the running processes, by the order in which
    they end: `[[web], [workers], [broker]]`. When the supervisor is gone, the input ends. The
    process also holds the data folder's lock, so that no second lab starts before the first is
    gone.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    stages: list[list[int]] = []
    for line in sys.stdin:
        stages = json.loads(line)
    for pids in stages:
        stop(pids, grace_s=GRACE_S)
