"""The process that the workers of one machine are forks of.

It has imported what every job needs, once: a worker and the processes of its jobs begin at once,
and share that memory. It runs no thread, opens no database and computes nothing, so that a fork of
it lacks nothing; and it imports nothing that a worker has for itself (`worker.celery_app`).

The supervisor (`app.run.template`) has the other end of its standard input. A line says what to
start, and comes with the file that the worker writes to; lines back say what began and ended.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.exceptions import SecurityWarning

from app.settings import code_version
from worker.job_run import load

_OF_CELERY = (
    "celery.bin.worker", "celery.apps.worker", "celery.worker.consumer",
    "celery.concurrency.prefork", "kombu.transport.redis",
)  # fmt: skip
"""What its command imports only when it runs."""
_LONGEST = 2**16


def main() -> None:
    """Fork a worker for each line, until the supervisor is gone."""
    load()
    for module in _OF_CELERY:
        importlib.import_module(module)
    # The supervisor says it, once and not for each worker in five lines.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    code_version()  # of the code that was imported, whatever the checkout has by then
    gc.collect()
    gc.freeze()  # else every fork would copy what its collector looks at
    asked = _serve(socket.socket(fileno=sys.stdin.fileno()))
    if asked is not None:
        sys.argv = asked["arguments"]
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """In a fork: what it shall be. None at the end."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _say(line, ready=True)
    while True:
        readable, _, _ = select.select([line, woken], [], [])
        if woken in readable:
            woken.recv(_LONGEST)
            _collect(line)
        if line in readable:
            text, files, _, _ = socket.recv_fds(line, _LONGEST, 1)
            if not text:
                return None
            asked: dict[str, Any] = json.loads(text)
            if os.fork() == 0:
                signal.set_wakeup_fd(-1)
                for end in (woken, waker):
                    end.close()
                _become(asked, line, files[0])
                return asked
            os.close(files[0])


def _collect(line: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            _say(line, ended=found[0], code=os.waitstatus_to_exitcode(found[1]))


def _say(line: socket.socket, **what: int) -> None:
    with suppress(BrokenPipeError):  # the end of the line is seen where it is read
        line.sendall(json.dumps(what).encode() + b"\n")


def _become(asked: dict[str, Any], line: socket.socket, output: int) -> None:
    """In the fork: a process of its own, as the supervisor starts others."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    _say(line, began=os.getpid())  # now its group can be signalled
    line.close()  # descriptor 0
    os.open(os.devnull, os.O_RDONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.close(output)
    os.environ.update(asked["variables"])
    with suppress(OSError):  # what `ps` and `top` show, on Linux
        Path("/proc/self/comm").write_text(asked["name"])
