"""Seconds that one checkpoint of a training run takes, as a share of the time between two.

    python -m bench.checkpoints [--repeats 7] [--folder DIR]   from the root of the repository

A checkpoint holds the weights, the optimiser's momentum and the state of every generator; the
weights of the best epoch have a file of their own, which is written when they change. Both kinds
are written, synced and renamed as in a job, of WRN-10-2 and WRN-28-10, which have 0.3 and 36.5
million parameters. A run saves once in 60 s at most; where a checkpoint takes longer than its
share, it saves less often (`SavePace`), so that a slow disk costs old checkpoints and not time.

PASS: the median of a checkpoint without new best weights takes less than 2 % of 60 s, for both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from app.contracts.params import TrainParams
from worker.jobs.training_state import Best, TrainingState
from worker.models import build

EVERY_S, TARGET = 60.0, 0.02


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="checkpoints of each kind")
    parser.add_argument("--folder", type=Path, help="where to write; else the temporary folder")
    options = parser.parse_args()
    shares = {}
    for architecture in ("wrn-10-2", "wrn-28-10"):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
            shares[architecture] = measure(architecture, Path(folder), options.repeats)
    met = max(shares.values()) < TARGET
    figures = "; ".join(f"{name}: {share:.2%}" for name, share in shares.items())
    print(
        f"{'PASS' if met else 'MISS'} checkpoints: {figures} of the time at one in "
        f"{EVERY_S:.0f} s, target below {TARGET:.0%}"
    )
    return 0 if met else 1


def measure(architecture: str, folder: Path, repeats: int) -> float:
    """Print both kinds; the share of the time that the ordinary one takes."""
    state = started(architecture)

    def with_best() -> None:
        state.keep_best(Best(epoch=state.best.epoch + 1))
        state.save(folder)

    ordinary = _seconds(lambda: state.save(folder), repeats)
    best = _seconds(with_best, repeats)
    megabytes = max(file.stat().st_size for file in folder.iterdir()) / 1e6
    for kind, (wall, processor) in (("checkpoint", ordinary), ("with new best weights", best)):
        print(
            f"{architecture}, {kind}: {statistics.median(wall):.3f} s, median of n = {repeats}, "
            f"{min(wall):.3f} to {max(wall):.3f}; {statistics.median(processor):.3f} s of the "
            f"processor; the larger file {megabytes:.1f} MB"
        )
    return statistics.median(ordinary[0]) / EVERY_S


def started(architecture: str) -> TrainingState:
    """A run after one step, so that the optimiser has its momentum."""
    torch.manual_seed(0)
    model = build(architecture, num_classes=10, mean=[0.5] * 3, std=[0.25] * 3)
    params = TrainParams(name="bench", dataset="0" * 32, architecture=architecture)
    state = TrainingState.start(model, params, images=50_000)
    size = torch.stack([weight.square().mean() for weight in model.parameters()]).sum()
    torch.autograd.backward(size)
    state.advance()
    return state


def _seconds(save: Callable[[], None], repeats: int) -> tuple[list[float], list[float]]:
    """Of the clock and of the processor, for every call but the first, which warms up."""
    wall, processor = [], []
    for _ in range(repeats + 1):
        begin = time.perf_counter(), time.process_time()
        save()
        wall.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    return wall[1:], processor[1:]


if __name__ == "__main__":
    sys.exit(main())
