"""Seconds and memory of a curve of nine budgets, and of AutoAttack, beside published libraries.

    python -m bench.evaluation                                from the root of the repository
    python -m bench.evaluation --lab DATA_DIR --model ID --dataset ID

Without a lab's model, a small one first learns the drawn shapes for a minute, so that robust
accuracy has something to fall from. Both comparisons take the same model and images, in turns
within one run, batch by batch:

- curve: PGD-20 at nine budgets, as the lab's evaluation climbs them, against nine runs of
  torchattacks.PGD. Steps of a quarter of the budget on both sides, and the same random starts;
  the lab starts at the second budget and later where the one before left an image.
- autoattack: the lab's AutoAttack standard against pyautoattack's, and against that of torchattacks
  told to take 100 iterations.

Each side has a process of its own, since memory is a matter of the process: the lab's works as a
worker does, with channels-last images and freed memory kept, the others as their documentation
shows. One waits while the other works. On a CPU time is that of the processor, which waiting for a
core does not lengthen; wall time is printed beside it.

PASS curve: the ratio of median times is at least 5, and the lab's accuracy is at no budget higher.
PASS autoattack: the ratio of torchattacks' median time to the lab's is at least 2, and the lab's
robust accuracy is not higher than that of any library by more than 0.5 points.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from app.contracts.units import format_255
from bench.attackers import BUDGETS, SIDES
from bench.models import Trained, of_lab, of_shapes
from worker import registry
from worker.memory import keep_freed_memory

CURVE_TARGET, AUTOATTACK_TARGET, SLACK = 5.0, 2.0, 0.005


class Reading(NamedTuple):
    """One side's measure of one batch."""

    seconds: float
    """Of the processor; on a GPU, of wall time."""
    wall: float
    right: list[int]
    peak_mb: float
    """The most memory that the side has used so far: of the device, or of the process."""


Readings = dict[str, list[Reading]]


def main() -> int:
    """Prints the figures; 0 if both targets are met, else 1."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trained = (
            of_shapes(Path(folder))
            if options.lab is None
            else of_lab(Path(folder), options.lab, options.model, options.dataset)
        )
        print(
            f"{trained.title}, torch {torch.__version__}, {registry.device()}, "
            f"{options.threads} threads"
        )
        met = [compare(options, trained, name) for name in options.only]
    return 0 if all(met) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lab", type=Path, help="data folder of a lab that has the model")
    parser.add_argument("--model", help="its id")
    parser.add_argument("--dataset", help="the id of the dataset, for its test images")
    parser.add_argument("--only", nargs="+", default=list(COMPARISONS), choices=list(COMPARISONS))
    parser.add_argument("--curve", type=int, default=5, help="batches of 128, at least 1")
    parser.add_argument("--autoattack", type=int, default=3, help="batches of 32, at least 1")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    return parser


def compare(options: argparse.Namespace, trained: Trained, name: str) -> bool:
    """Measure and print one comparison; whether its target is met."""
    size, sides, judge = COMPARISONS[name]
    readings: Readings = {side: [] for side in sides}
    with at_work(trained, sides, size, options.threads) as pipes:
        for batch in range(-1, getattr(options, name)):
            for side, pipe in pipes.items():
                pipe.send(batch)
                reading = pipe.recv()
                if batch >= 0:  # the first one warms up
                    readings[side].append(reading)
    print_sides(readings, size)
    return judge(readings, getattr(options, name) * size)


@contextlib.contextmanager
def at_work(
    trained: Trained, names: Sequence[str], size: int, threads: int
) -> Iterator[dict[str, Connection]]:
    """The sides' processes, by name: send the number of a batch, receive a reading."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in names:
        pipes[name], theirs = context.Pipe()
        arguments = (name, trained, size, threads, theirs)
        processes.append(context.Process(target=work, args=arguments, daemon=True))
        processes[-1].start()
    try:
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


def work(name: str, trained: Trained, size: int, threads: int, orders: Connection) -> None:
    """Measure every batch that is asked for; the body of a side's process."""
    torch.set_num_threads(threads)
    lab = name.startswith("lab")
    if lab:
        keep_freed_memory()
    layout = torch.channels_last if lab else torch.contiguous_format
    device = registry.device()
    model = trained.model().to(device).to(memory_format=layout)
    side, (images, labels) = SIDES[name](model), trained.images()
    while True:
        batch = orders.recv()
        rows = slice(0, 4) if batch < 0 else slice(batch * size, (batch + 1) * size)
        x = images[rows].to(device).contiguous(memory_format=layout)
        y = labels[rows].to(device)
        begin, busy = time.perf_counter(), time.process_time()
        right = side(x, y, batch + 1)
        wall, busy = time.perf_counter() - begin, time.process_time() - busy
        orders.send(Reading(wall if device.type == "cuda" else busy, wall, right, peak_mb()))


def peak_mb() -> float:
    """The most memory used so far, of the device, or of this process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def judge_curve(readings: Readings, n: int) -> bool:
    """Prints the curve of n images and its line; whether the target is met."""
    mine, other = (totals(readings[name]) for name in ("lab_curve", "torchattacks_curve"))
    for eps, lab, library in zip(BUDGETS, mine, other, strict=True):
        print(f"{format_255(eps):>23}: lab {lab / n:.1%}, torchattacks {library / n:.1%}")
    ratio = median(readings["torchattacks_curve"]) / median(readings["lab_curve"])
    higher = sum(lab > library for lab, library in zip(mine, other, strict=True))
    met = ratio >= CURVE_TARGET and higher == 0
    print(
        f"{'PASS' if met else 'MISS'} curve: {ratio:.2f} times as fast as nine runs of "
        f"torchattacks.PGD, target at least {CURVE_TARGET:.1f}; accuracy higher at {higher} of "
        f"{len(BUDGETS)} budgets, target 0"
    )
    return met


def judge_autoattack(readings: Readings, n: int) -> bool:
    """Prints robust accuracies and the line; whether the target is met."""
    right = {name: totals(side)[0] for name, side in readings.items()}
    for name, count in right.items():
        print(f"{name:>23}: robust accuracy {count / n:.1%}")
    lab = "lab_autoattack"
    ratio = median(readings["torchattacks_autoattack"]) / median(readings[lab])
    above = (right[lab] - min(right.values())) / n
    met = ratio >= AUTOATTACK_TARGET and above <= SLACK
    print(
        f"{'PASS' if met else 'MISS'} autoattack: {ratio:.2f} times as fast as torchattacks, "
        f"target at least {AUTOATTACK_TARGET:.1f}; robust accuracy {100 * above:+.1f} points "
        f"beside the lowest, target at most {100 * SLACK:+.1f}"
    )
    return met


def print_sides(readings: Readings, size: int) -> None:
    """Median images/s of each side, n, the middle half of its batches, and its peak memory."""
    for name, side in readings.items():
        rates = sorted(size / reading.seconds for reading in side)
        wall = statistics.median(reading.wall for reading in side)
        low, middle, high = (
            statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
        )
        print(
            f"{name:>23}: {middle:6.2f} images/s, median of n = {len(rates)} batches of {size}, "
            f"middle half {low:.2f} to {high:.2f}; {size / wall:.2f} by wall time; "
            f"peak memory {side[-1].peak_mb:,.0f} MB"
        )


def median(side: list[Reading]) -> float:
    return statistics.median(reading.seconds for reading in side)


def totals(side: list[Reading]) -> list[int]:
    """Images still right over all batches, at each budget."""
    return [sum(counts) for counts in zip(*(reading.right for reading in side), strict=True)]


class Comparison(NamedTuple):
    """What is compared, and how."""

    size: int
    """Images of a batch."""
    sides: tuple[str, ...]
    judge: Callable[[Readings, int], bool]


COMPARISONS: Mapping[str, Comparison] = {
    "curve": Comparison(128, ("lab_curve", "torchattacks_curve"), judge_curve),
    "autoattack": Comparison(
        32, ("lab_autoattack", "pyautoattack", "torchattacks_autoattack"), judge_autoattack
    ),
}


if __name__ == "__main__":
    sys.exit(main())
