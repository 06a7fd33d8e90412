"""The whole lab as a person starts it: `python -m app` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NO_MODELS = {"LAB_SHIPPED_DIR": str(ROOT / "tests" / "plugins")}
"""Tests begin with an empty lab: a folder without any models."""
PATIENCE_S = 600.0
"""Longer than anything takes on a busy machine; only a failing test waits so long."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Any], what: str, within_s: float = PATIENCE_S, every_s: float = 0.1
) -> Any:
    """The condition's first true value. Fails, naming `what`, when there is none in time."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:.0f} s in vain: {what}")
        time.sleep(every_s)
    return value


def read_health(url: str, token: str | None = None) -> dict[str, Any]:
    """What a lab says of itself; empty while it does not answer."""
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        asked = urllib.request.Request(f"{url}/api/health", headers=shown)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        body = json.load(error)
    except OSError:
        return {}
    return body


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    group: int
    name: str
    command: str


def processes() -> dict[int, Process]:
    """Everything that runs, by process id; a zombie runs no more."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,pgid=,stat=,comm:15=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    for line in listed.stdout.splitlines():
        pid, parent, group, state, text = line.split(None, 4)
        if not state.startswith("Z"):
            name, command = text[:15].rstrip(), text[15:].strip()
            found[int(pid)] = Process(int(pid), int(parent), int(group), name, command)
    return found


class LabProcess:
    """A lab on a free port. Its lines are kept in `output`.

    Args:
        command: what starts it; by default this checkout.
        where: the folder that it starts in.
        terminal: its lines go to one, and not into a pipe.
    """

    def __init__(
        self,
        data_dir: Path,
        command: Sequence[str | Path] = (sys.executable, "-m", "app"),
        where: Path = ROOT,
        *,
        terminal: bool = False,
        **environment: str,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: list[str] = []
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
        read_end, write_end = os.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            command,
            cwd=where,
            env=clean
            | {"LAB_PORT": str(self.port), "LAB_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1"}
            | NO_MODELS
            | environment,
            stdout=write_end,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(write_end)
        self._reader = threading.Thread(target=self._read, args=[read_end], daemon=True)
        self._reader.start()

    def _read(self, read_end: int) -> None:
        with open(read_end) as stream, suppress(OSError):  # as a terminal ends
            for line in stream:
                self.output.append(line.rstrip("\n"))

    def wait_ready(self) -> LabProcess:
        """Wait until it says so and every queue has its worker."""
        wait_until(lambda: self._ended() or self._says_ready(), f"ready: {self.output}")
        assert not self._ended(), self.output
        wait_until(lambda: self.health().get("ok"), f"a worker for each queue: {self.output}")
        return self

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def _says_ready(self) -> bool:
        return any(line == f"AGKD-BML Lab is ready: {self.url}" for line in self.output)

    def health(self) -> dict[str, Any]:
        return read_health(self.url)

    def workers(self, queue: str) -> int:
        """How many workers the lab sees on a queue."""
        queues = self.health().get("queues", [])
        return next((int(q["workers"]) for q in queues if q["queue"] == queue), 0)

    def descendants(self) -> dict[int, Process]:
        """Every process that the lab started, and what those started."""
        running = processes()
        found = {self.process.pid: running[self.process.pid]}
        while True:
            more = {p.pid: p for p in running.values() if p.parent in found} | found
            if len(more) == len(found):
                del found[self.process.pid]
                return found
            found = more

    def named(self, text: str) -> Process | None:
        """The process that the lab keeps alive whose name or command contains `text`, if it runs.

        Workers are named by their queue, and by more than that where setproctitle is installed.
        """
        kept = [p for p in self.descendants().values() if p.pid == p.group]
        return next((p for p in kept if text in p.name or text in p.command), None)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; returns the exit code."""
        self.process.send_signal(signum)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and for the last line; returns the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def clean_up(self) -> None:
        """End what a failing test left."""
        if self._ended():
            return
        for process in self.descendants().values():
            os.kill(process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
