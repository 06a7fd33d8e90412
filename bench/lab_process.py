"""The whole lab as `python -m app` starts it, for what is measured from outside."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import redis

ROOT = Path(__file__).resolve().parents[1]
HURRIED = {"LAB_CHECKPOINT_S": "1", "LAB_LEASE_S": "10"}
"""Settings for many faults in a short time."""
GIVEN_UP_S = 180.0


def free_port() -> int:
    """Of this machine's own address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], every_s: float = 0.2) -> None:
    """Wait for it. Raises TimeoutError."""
    deadline = time.monotonic() + GIVEN_UP_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(every_s)


class Process(NamedTuple):
    """One of the machine."""

    parent: int
    session: int
    text: str
    """Its name, and its command."""

    @property
    def is_watchdog(self) -> bool:
        return "watchdog" in self.text


class LabProcess:
    """A lab on a free port, without the models in the box; its lines go to a file by `folder`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        port, self._folder = free_port(), folder
        clean = {name: v for name, v in os.environ.items() if not name.startswith("LAB_")}
        own = {"LAB_DATA_DIR": str(folder), "LAB_PORT": str(port), "OMP_NUM_THREADS": "1"}
        own["LAB_SHIPPED_DIR"] = str(ROOT / "bench")
        self._log = (folder.parent / "lab.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app"], cwd=ROOT, env=clean | own | environment,
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._sessions = {self.process.pid}
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def ready(self) -> None:
        """Wait until it is."""
        while not (self.ask("/api/health") or {}).get("ok"):
            if self.process.poll() is not None:
                raise SystemExit("the lab did not start")
            time.sleep(0.5)

    def says_ready(self) -> bool:
        """Whether it has written so."""
        return "AGKD-BML Lab is ready" in Path(self._log.name).read_text()

    def ask(self, path: str) -> Any:
        """None while it does not answer."""
        try:
            return self.http.get(path).json()
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, path: str, **request: Any) -> Any:
        """Again and again until it is taken, under one key. Raises SystemExit where there is no lab
        any more."""
        key = {"Idempotency-Key": os.urandom(8).hex()}
        while self.process.poll() is None:
            try:
                answer = self.http.post(path, headers=key, **request)
                if answer.status_code < 500:
                    return answer.raise_for_status().json()
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        raise SystemExit("the lab ended")

    def processes(self) -> dict[int, Process]:
        """Every one of the lab that runs, whoever its parent is by now: what the supervisor and
        those that it started began, and what is in a session of one of these, seen at any time.

        Where a process stands in its variables cannot be told: titles are written over them.
        """
        listed = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,sid=,stat=,comm=,args="],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        every = {}
        for line in listed.stdout.splitlines():
            pid, parent, session, state, text = line.split(None, 4)
            if not state.startswith("Z"):
                every[int(pid)] = Process(int(parent), int(session), text)
        found: dict[int, Process] = {}
        while more := {
            pid: one for pid, one in every.items()
            if (one.session in self._sessions or one.parent in found) and pid not in found
        }:  # fmt: skip
            found |= more
            self._sessions |= {one.session for one in more.values()}
        return found

    def recorded(self, name: str) -> int:
        """The process that the supervisor keeps under a name, as `train`."""
        record = json.loads((self._folder / "lab.processes").read_text())
        return int(record["processes"][name][0])

    def flush(self) -> None:
        """Empty the broker."""
        text = (self._folder / "valkey" / "valkey.conf").read_text()
        password = re.search(r"requirepass (\S+)", text)
        path = re.search(r"unixsocket (\S+)", text)
        assert password is not None
        assert path is not None
        with redis.Redis(unix_socket_path=path[1], password=password[1]) as broker:
            broker.flushall()

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.process.terminate()
        self.process.wait(120)
        self.http.close()
        self._log.close()
