"""What comes from outside is read in processes of little memory and little time.

So no file can stop the lab, or fill its memory: a process that is given too much ends, and another
one takes its place (decision 35). Nor is what such a process answers trusted (decision 39).
"""

from __future__ import annotations

import atexit
import io
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

from pydantic import BaseModel

from app.errors import Unavailable
from confinement import confine, environment, guard, killed_after, limit_memory

_ROOT = Path(__file__).resolve().parents[2]
_PROCESSES = 2
_MOST_WAITING = 8
"""Each holds one of the threads that serve pages."""
_MEGABYTES = 1024
"""Of one process beside its code: a photograph of 25 million pixels takes half of it."""
_TASKS = 100
"""After so many a process is replaced, whatever it may have kept."""
_MOST_ANSWERED = 2**28
"""Bytes."""
_TOLD = (
    "app.errors.", "app.contracts.", "fastapi.exceptions.", "datetime.",
    "pydantic_core._pydantic_core.TzInfo",
)  # fmt: skip
"""How the full names begin of classes that an answer may have."""
_BUILD: Any = pickle._Unpickler.dispatch[pickle.BUILD[0]]

_places = threading.BoundedSemaphore(_MOST_WAITING)
_at_work = threading.BoundedSemaphore(_PROCESSES)
_idle: deque[_Process] = deque()
P = ParamSpec("P")
T = TypeVar("T")


class ExhaustedError(Exception):
    """What was read takes more memory or time than it may."""


def read(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function of a module makes of bytes, within so many seconds on the clock.

    Raises what the function raises, which has to survive pickling; ExhaustedError; Unavailable
    where many wait already; UnpicklingError where the answer is none that a function here gives.
    """
    if not _places.acquire(blocking=False):
        raise Unavailable(
            "Many files are being read at this moment.", hint="Try again in a few seconds."
        )
    try:
        with _at_work:
            told = _asked(seconds, pickle.dumps((function, args, kwargs)))
    finally:
        _places.release()
    outcome: T | Exception = _Answer(io.BytesIO(told)).load()
    if isinstance(outcome, MemoryError):
        raise ExhaustedError from outcome
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _asked(seconds: float, task: bytes) -> bytes:
    """What an idle process answers, or a new one. Raises ExhaustedError."""
    try:
        process = _idle.pop()
    except IndexError:
        process = _Process()
    try:
        told = process.ask(seconds, task)
    except (EOFError, OSError) as error:
        process.end()
        raise ExhaustedError from error
    if process.tasks < _TASKS:
        _idle.append(process)
    else:
        process.end()
    return told


class _Process:
    """Started anew, not forked: nothing of this process is open in it, and its variables, some
    of which are passwords, are not there to be read."""

    def __init__(self) -> None:
        self.tasks = 0
        (asked, self._asked), (self._told, told) = Pipe(False), Pipe(False)
        ways = asked.fileno(), told.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.services.readers", *map(str, ways)],
            cwd=_ROOT, env=environment(), pass_fds=ways, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        asked.close()
        told.close()

    def ask(self, seconds: float, task: bytes) -> bytes:
        """Raises EOFError or OSError where the process has ended, as it has after these seconds."""
        self.tasks += 1
        with killed_after(seconds, self._process.kill):
            self._asked.send_bytes(task)
            return self._told.recv_bytes(_MOST_ANSWERED)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for way in (self._asked, self._told):
            way.close()


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


class _Answer(pickle._Unpickler):
    """What hostile bytes may have written: data and errors, and nothing that does something.

    The slower of Python's two, which can be told what not to do.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def _build(self) -> None:
        """Raises UnpicklingError for attributes of what is not the answer's own: classes, and
        members of enumerations, are those of this whole process."""
        if not isinstance(self.stack[-2], BaseModel | Exception):
            raise pickle.UnpicklingError("an answer has no business with what others have, too")
        _BUILD(self)

    dispatch[pickle.BUILD[0]] = _build

    def find_class(self, module: str, name: str) -> Any:
        """Raises UnpicklingError for all but classes of contracts, and errors."""
        told = f"{module}.{name}".startswith(_TOLD)
        if "." not in name and (told or module == "builtins"):
            found = super().find_class(module, name)
            known = isinstance(found, type) and found.__module__ == module
            if known and (told or issubclass(found, Exception)):
                return found
        raise pickle.UnpicklingError(f"an answer has no business with {module}.{name}")


def _serve(asked: Connection, told: Connection) -> None:
    """What a process does until nobody asks any more."""
    import imagefile  # noqa: F401  in a folder that cannot be looked into later

    confine()
    limit_memory(_MEGABYTES)
    guard()
    while True:
        try:
            task = asked.recv_bytes()
        except EOFError:
            return
        told.send_bytes(_outcome(task))


def _outcome(task: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(task)
        return pickle.dumps(function(*args, **kwargs))
    except Exception as error:
        return pickle.dumps(error)


if __name__ == "__main__":
    asked, told = map(int, sys.argv[1:])
    _serve(Connection(asked, writable=False), Connection(told, readable=False))
