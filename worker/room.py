"""What of this machine a process may have: memory, in all and now, and cores."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OF_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of versions 2 and 1: a group's limit, its usage, and what the kernel would drop of that."""


_QUOTAS = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
"""Of versions 2 and 1: files that say how much time of processors a group has within how long."""


def cores() -> int:
    """How many this process may keep busy: those that it may run on, and no more than its control
    groups give it time for."""
    if sys.platform != "linux":  # a process cannot be kept to some of them there
        return os.cpu_count() or 1
    may = len(os.sched_getaffinity(0))
    try:
        times = [time for folder in _groups("cpu") for time in _times_of(folder)]
    except OSError:
        return may
    return max(1, int(min([may, *times])))


def all_memory() -> int | None:
    """Bytes of the machine, or as many as its control groups allow; None where nobody says."""
    try:
        machine = _entry(Path("/proc/meminfo"), "MemTotal:") * 1024
        return min(
            [machine, *(most for folder in _groups("memory") for most in _limits_of(folder))]
        )
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Bytes that this process may still take: of the machine, its control groups and its limits.

    None where the system does not say (it does on Linux).
    """
    try:
        machine = _entry(Path("/proc/meminfo"), "MemAvailable:") * 1024
        groups = [room for folder in _groups("memory") for room in _room_of(folder)]
        return max(0, min([machine, *groups, *_room_of_process()]))
    except (OSError, ValueError):
        return None


def _room_of_process() -> Iterator[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        yield limit - pages * resource.getpagesize()


def _groups(what: str) -> Iterator[Path]:
    """Folders of this process's control groups for one of the kernel's controllers, of version 1
    and 2, and their parents.

    Within a container the path may be that of the host; its own group is then at the root.
    """
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if what in controllers.split(",") or not controllers:
            root = _CGROUPS / controllers
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _times_of(group: Path) -> Iterator[float]:
    """How many processors' time a group may take."""
    for names in _QUOTAS:
        try:
            quota, period = " ".join((group / name).read_text() for name in names).split()
            if int(quota) > 0:  # -1: no limit
                yield int(quota) / int(period)
        except (OSError, ValueError):
            # The other version, or no limit: “max”.
            continue


def _limits_of(group: Path) -> Iterator[int]:
    for limit, _, _ in _OF_GROUPS:
        try:
            yield int((group / limit).read_text())
        except (OSError, ValueError):
            # The other version, or no limit: “max”.
            continue


def _room_of(group: Path) -> Iterator[int]:
    """What is left below the group's limit; what the kernel would drop for it counts as left."""
    for limit, usage, cache in _OF_GROUPS:
        try:
            most = int((group / limit).read_text())
            used = int((group / usage).read_text())
            yield most - used + _entry(group / "memory.stat", cache)
        except (OSError, ValueError):
            continue


def _entry(file: Path, name: str) -> int:
    """The number after a name at the start of a line. Raises ValueError where there is none."""
    for line in file.read_text().splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    raise ValueError(f"{file} has no {name}")
