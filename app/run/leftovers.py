"""Processes of a lab whose supervisor and watchdog were killed: found again at the next start.

The supervisor keeps a record of what it started in the data folder. A process counts as the one of
the record only if it began at the same moment, since numbers of processes are used again; and the
record counts only in the very folder where it was written, so that a lab on a copy of the folder
ends nothing of the lab that it was copied from.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.run.processes import GRACE_S, stop
from app.store.files import atomic_write

_RECORD = "lab.processes"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_BEGIN = 19
"""Of /proc/PID/stat: ticks since the machine's start, counted from what follows the name."""


def record(folder: Path, pids: Mapping[str, int]) -> None:
    """Write down the first processes of groups, by name; a full disk is no reason to stop them."""
    found = {name: (pid, _begun(pid)) for name, pid in pids.items()}
    with suppress(OSError), atomic_write(folder / _RECORD) as stream:
        stream.write(json.dumps({"here": _here(folder), "processes": found}).encode())


def end(folder: Path) -> list[str]:
    """End what the record names and still runs, with all of its group; returns the names.

    Call with the folder's lock held: no supervisor is alive then.
    """
    try:
        kept: dict[str, Any] = json.loads((folder / _RECORD).read_bytes())
        ours = kept["here"] == _here(folder)
        found = {
            name: int(pid) for name, (pid, begun) in kept["processes"].items()
            if ours and begun is not None and begun == _begun(pid)
        }  # fmt: skip
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    stop(list(found.values()), grace_s=GRACE_S)
    return list(found)


def _here(folder: Path) -> list[Any]:
    """Which folder of which start of the machine this is; a copy is another one."""
    place = folder.stat()
    return [place.st_dev, place.st_ino, _BOOT.read_text().strip() if _BOOT.exists() else ""]


def _begun(pid: int) -> str | None:
    """When a process began, as the machine has it; None where there is none."""
    try:
        # The name, in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_BEGIN]
    except (FileNotFoundError, ProcessLookupError):
        if _BOOT.exists():
            return None
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip() or None
