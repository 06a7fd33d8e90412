"""How much of a core a lab burns that nobody uses.

    python -m bench.idle [--seconds 120]      from the root of the repository

A whole lab (`python -m app`), half a minute after it is ready.

PASS: all of its processes together, the watchdog and what begins and ends meanwhile among them,
take less than 1 % of one core.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench.lab_process import LabProcess

TARGET = 0.01
_SETTLES_S = 30.0


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lab-") as scratch:
        lab = LabProcess(Path(scratch, "data"))
        try:
            lab.ready()
            time.sleep(_SETTLES_S)
            before = _seconds(lab.processes())
            time.sleep(options.seconds)
            after = _seconds(processes := lab.processes())
        finally:
            lab.stop()
    shares = {pid: (taken - before.get(pid, 0)) / options.seconds for pid, taken in after.items()}
    for pid, process in processes.items():
        print(f"{shares[pid]:.2%}  {process.text[:90]}")
    share = sum(shares.values())
    print(
        f"{'PASS' if share < TARGET else 'MISS'} idle: {share:.2%} of a core, target {TARGET:.0%}"
    )
    return 0 if share < TARGET else 1


def _seconds(processes: Iterable[int]) -> dict[int, float]:
    """Of processor time, by process: its own, and that of children which it outlived."""
    tick = os.sysconf("SC_CLK_TCK")
    taken = {}
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        taken[pid] = sum(map(int, fields[11:15])) / tick
    return taken


if __name__ == "__main__":
    sys.exit(main())
