"""How much of a core a lab burns that nobody uses.

    python -m bench.idle [--seconds 120]      from the root of the repository

A whole lab (`python -m app`), half a minute after it is ready.

PASS: all of its processes together take less than 1 % of one core.
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
            processes = {lab.process.pid: "supervisor"} | lab.family()
            before = _seconds(processes)
            time.sleep(options.seconds)
            after = _seconds(processes)
        finally:
            lab.stop()
    shares = {pid: (after[pid] - before[pid]) / options.seconds for pid in processes}
    for pid, command in processes.items():
        print(f"{shares[pid]:.2%}  {command[:90]}")
    share = sum(shares.values())
    print(
        f"{'PASS' if share < TARGET else 'MISS'} idle: {share:.2%} of a core, target {TARGET:.0%}"
    )
    return 0 if share < TARGET else 1


def _seconds(processes: Iterable[int]) -> dict[int, float]:
    """Of processor time, by process."""
    tick = os.sysconf("SC_CLK_TCK")
    taken = {}
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        taken[pid] = (int(fields[11]) + int(fields[12])) / tick
    return taken


if __name__ == "__main__":
    sys.exit(main())
