"""Process groups: end them politely first, and for certain in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

_TICK_S = 0.05


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
