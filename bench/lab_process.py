"""The whole lab as `python -m app` starts it, for what is measured from outside."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def ready(self) -> None:
        """Wait until it is."""
        while not (self.ask("/api/health") or {}).get("ok"):
            if self.process.poll() is not None:
                raise SystemExit("the lab did not start")
            time.sleep(0.5)

    def ask(self, path: str) -> Any:
        """None while it does not answer."""
        try:
            return self.http.get(path).json()
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, path: str, **request: Any) -> Any:
        """Again and again until it is taken, under one key."""
        key = {"Idempotency-Key": os.urandom(8).hex()}
        while True:
            try:
                answer = self.http.post(path, headers=key, **request)
                if answer.status_code < 500:
                    return answer.raise_for_status().json()
            except httpx.TransportError:
                pass
            time.sleep(0.5)

    def family(self) -> dict[int, str]:
        """The lab's processes but for the supervisor and its watchdog, by what they run: the name
        of the process, and its command."""
        every = self.descendants()
        return {pid: text for pid, text in every.items() if "watchdog" not in text}

    def descendants(self) -> dict[int, str]:
        """Every process that the supervisor started, and what those started, in the same words."""
        listed = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,comm=,args="],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
        every = {int(pid): (int(parent), text) for pid, parent, text in lines}
        found: dict[int, str] = {}
        while more := {
            pid: text for pid, (parent, text) in every.items()
            if (parent == self.process.pid or parent in found) and pid not in found
        }:  # fmt: skip
            found |= more
        return found

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
        self._log.close()
