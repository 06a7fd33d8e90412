"""Processes that are ended by SIGKILL while they save, over and over.

    python -m bench.saves [--kills 500] [--seed 0]      from the root of the repository

Each process writes one save after the other over the one before, as trainings and evaluations do,
until it is ended at a random moment. Whatever is then found under the name of the save must be one
of them, whole: numbered, with tensors of that number throughout.

PASS: no torn save.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from worker.jobs.saves import LAST, UNREADABLE, read, write

_ENTRIES, _SIZE = 8, 2**15


def main() -> int:
    """Prints the figures; 0 if no save was torn, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, torn, interrupted, saved = random.Random(options.seed), 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        path = Path(folder, LAST)
        for _ in range(options.kills):
            number = _end_one(path, rng.uniform(0.0, 0.15))
            torn += number is None
            saved += number or 0
            parts = list(path.parent.glob(".*.part"))
            interrupted += bool(parts)
            for part in (*parts, path):
                part.unlink(missing_ok=True)
    print(
        f"{saved:,} saves of {_ENTRIES * _SIZE * 4 / 2**20:.0f} MB, {options.kills} kills, "
        f"{interrupted} of them in a write, seed {options.seed}"
    )
    print(f"{'MISS' if torn else 'PASS'} saves: {torn} torn, target 0")
    return 1 if torn else 0


def _end_one(path: Path, after_s: float) -> int | None:
    """The number of the last save, 0 where there is none; None where it is torn."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        for number in itertools.count(1):
            tensors = {str(i): torch.full((_SIZE,), float(number)) for i in range(_ENTRIES)}
            write(path, {"number": number, **tensors})
    time.sleep(0.01 + after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not path.exists():
        return 0
    try:
        found = read(path)
    except UNREADABLE:
        return None
    number = int(found.pop("number"))
    whole = len(found) == _ENTRIES and all(bool((v == number).all()) for v in found.values())
    return number if whole else None


if __name__ == "__main__":
    sys.exit(main())
