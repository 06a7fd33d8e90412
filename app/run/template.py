"""Workers as forks of one process, the template (`worker.template`), which has imported torch.

Each is a process in a session of its own, as other children are: only that the template, its
parent, tells when it ends. Where the template is gone its workers go on, and another one is started
for those to come.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from app.run.processes import Child, kill_group

_SERVE = "from worker.template import main; main()"
_ANSWERS_WITHIN_S = 20.0
_TICK_S = 0.05


class Template(Child):
    """It takes seconds until it is ready: start it early."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__("template", [sys.executable, "-c", _SERVE], environment)
        self._line: _Line | None = None

    def _begin(self) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = self._open(stdin=theirs.fileno())
        self._line = _Line(ours)
        return process

    def ready(self) -> bool:
        """Whether it can be forked."""
        return self._line is not None and self._line.ready and not self._line.over

    def fork(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> Fork:
        """Run `python *command`, which names a module, with more variables, in a process of that
        name. Raises OSError, after which the template is another one."""
        assert self._line is not None
        assert self.pid is not None
        reader, writer = os.pipe()
        stdout = os.fdopen(reader, "rb")
        asked = {
            "name": name, "module": command[1], "arguments": command[1:],
            "variables": dict(variables),
        }  # fmt: skip
        try:
            return Fork(self._line, self._line.ask(asked, writer), stdout)
        except OSError:
            stdout.close()
            kill_group(self.pid)
            raise
        finally:
            os.close(writer)


class Worker(Child):
    """A worker that is a fork of the template, with variables that the template lacks."""

    def __init__(
        self, name: str, command: Sequence[str], variables: Mapping[str, str], template: Template
    ) -> None:
        super().__init__(name, command, variables)
        self._template = template

    def _begin(self) -> Fork:
        return self._template.fork(self.name, self._command, self._environment)

    def tend(self) -> bool:
        """As any child; but it begins when the template is ready."""
        if self.pid is None and not self._template.ready():
            return False
        try:
            return super().tend()
        except OSError:  # the template was gone by then
            return False


class Fork:
    """A process of the template, as `subprocess.Popen` has those of one's own."""

    def __init__(self, line: _Line, pid: int, stdout: BinaryIO) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self._line = line

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._line.code_of(self.pid)
        return self.returncode

    def wait(self) -> int:
        """Wait for the exit code."""
        while (code := self.poll()) is None:
            time.sleep(_TICK_S)
        return code


class _Line:
    """The supervisor's end of what it and one template say to each other."""

    def __init__(self, end: socket.socket) -> None:
        self.ready = self.over = False
        self._end = end
        self._began: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._codes: dict[int, int] = {}
        threading.Thread(target=self._listen, name="template", daemon=True).start()

    def _listen(self) -> None:
        with self._end, self._end.makefile("rb") as lines:
            for text in lines:
                match json.loads(text):
                    case {"began": pid}:
                        self._began.put(pid)
                    case {"ended": pid, "code": code}:
                        self._codes[pid] = code
                    case _:
                        self.ready = True
        self.over = True
        self._began.put(None)

    def ask(self, asked: Mapping[str, object], output: int) -> int:
        """The number of the process that began. Raises OSError where none did."""
        socket.send_fds(self._end, [json.dumps(asked).encode()], [output])
        try:
            began = self._began.get(timeout=_ANSWERS_WITHIN_S)
        except queue.Empty:
            began = None
        if began is None:
            raise OSError("the template does not answer")
        return began

    def code_of(self, pid: int) -> int | None:
        """The exit code of one that ended; SIGKILL's where the template was gone before, and cannot
        tell."""
        if self.over and pid not in self._codes and not _runs(pid):
            return -signal.SIGKILL
        return self._codes.get(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
