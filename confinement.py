"""What a process gives up before it reads a file from outside: memory, time, the network.

The standard library alone; it knows neither `app` nor `worker`, which both read such files.
"""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # of sched.h
_FORBIDDEN = re.compile(
    r"socket\.|subprocess\.|os\.(exec|fork|forkpty|posix_spawn|spawn|system|startfile)|"
    r"pty\.|urllib\.|ctypes\.dlopen"
)


def leave_network() -> bool:
    """Move into a network namespace of its own, which has no way out; False where that is refused.

    To be called while the process has one thread.
    """
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    if unshare is None:
        return False
    # Without privileges a user namespace has to come with it; root may do without.
    return any(unshare(flags) == 0 for flags in (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET))


def limit(megabytes: int, seconds: int) -> None:
    """Bound memory on top of what is mapped by now, time on the processor, and files."""
    limit_memory(megabytes)
    # The first ends the process by SIGXCPU, which says why; the second would by SIGKILL.
    _bound(resource.RLIMIT_CPU, seconds, seconds + 1)


def limit_memory(megabytes: int) -> None:
    """Bound memory on top of what is mapped by now, and files, for as long as the process lives."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    more = megabytes * 2**20
    for kind, most in (
        (resource.RLIMIT_AS, mapped + more),
        (resource.RLIMIT_FSIZE, more),
        (resource.RLIMIT_CORE, 0),
    ):
        _bound(kind, most, most)


def _bound(kind: int, soft: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (min(soft, bound), bound))


def guard() -> None:
    """From now on no network and no further process, whatever asks for them in Python."""
    sys.addaudithook(_refuse)


def _refuse(event: str, _: Any) -> None:
    if _FORBIDDEN.match(event):
        raise PermissionError(f"a file that is read has no business with {event}")
