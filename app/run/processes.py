"""One supervised process: start it, pass on its lines, start it again with patience."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import app
from app.run.console import relay, say
from app.run.groups import kill_group

ROOT = Path(app.__file__).resolve().parent.parent
"""Where `app` and `worker` are found; every process runs here."""

_LONGEST_PAUSE_S = 30.0
_STABLE_AFTER_S = 60.0


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
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._started = time.monotonic()
        relay(self._process.stdout, self.name)

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
            self._mourn(self._process.returncode)
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
