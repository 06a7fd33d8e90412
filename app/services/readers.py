"""What comes from outside is read in processes of little memory and little time.

So no file can stop the lab, or fill its memory: a process that is given too much ends, and another
one takes its place (decision 35).
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from app.errors import Unavailable
from confinement import confine, guard, limit_memory

_PROCESSES = 2
_MOST_WAITING = 8
"""Each holds one of the threads that serve pages."""
_MEGABYTES = 1024
"""Of one process beside its code: a photograph of 25 million pixels takes half of it."""
_TASKS = 100
"""After so many a process is replaced, whatever it may have kept."""

_places = threading.BoundedSemaphore(_MOST_WAITING)
P = ParamSpec("P")
T = TypeVar("T")


class ExhaustedError(Exception):
    """What was read takes more memory or time than it may."""


def read(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function of a module makes of bytes, within so many seconds on the clock.

    Raises what the function raises, which has to survive pickling; ExhaustedError; Unavailable
    where many wait already.
    """
    if not _places.acquire(blocking=False):
        raise Unavailable(
            "Many files are being read at this moment.", hint="Try again in a few seconds."
        )
    try:
        told = _pool().schedule(_tell, (function, args, kwargs), timeout=seconds).result()
    except (TimeoutError, MemoryError, ProcessExpired) as error:
        raise ExhaustedError from error
    finally:
        _places.release()
    outcome: T | Exception = pickle.loads(told)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _tell(function: Callable[..., object], args: Any, kwargs: Any) -> bytes:
    """What came of it. Bytes, since the pool does not outlive what it cannot unpickle itself."""
    try:
        return pickle.dumps(function(*args, **kwargs))
    except MemoryError:
        raise
    except Exception as error:
        return pickle.dumps(error)


@cache
def _pool() -> ProcessPool:
    """Started with the first file. Nothing of this process is open in those of the pool."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPool(_PROCESSES, max_tasks=_TASKS, initializer=_confine, context=spawn)


def _confine() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # numpy's others would be outside of the walls
    import imagefile  # noqa: F401  in a folder that cannot be looked into later

    confine()
    limit_memory(_MEGABYTES)
    guard()
