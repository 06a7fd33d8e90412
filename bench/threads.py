"""What it costs one job, and gains two jobs at once, that threads wait for each other asleep.

    python -m bench.threads [--repeats 9] [--threads 2]        from the root of the repository

A job here is an attack pass of training: WRN-10-2, 256 images, float32, forward and back to the
images. It runs alone, and beside a second one, with OpenMP's threads waiting as the library likes
it, which is busily, and asleep, as the lab's workers have it (`OMP_WAIT_POLICY=PASSIVE`). All
take turns within one run.

PASS: asleep, a job alone takes less than 2 % longer. On a busy machine that says little.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection

import torch  # before anything of worker, which would choose how the threads of this process wait
from torch.nn import functional as F

from worker.memory import keep_freed_memory
from worker.models import build, frozen

POLICY, PASSES, TARGET = "OMP_WAIT_POLICY", 3, 1.02
WAYS: dict[str, str | None] = {"busily": None, "asleep": "PASSIVE"}

Reading = tuple[float, float]
"""Of one pass: seconds of the clock, seconds of the processor."""


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of a job")
    options = parser.parse_args()
    pairs = {way: start(policy, options.threads) for way, policy in WAYS.items()}
    readings: dict[tuple[str, int], list[Reading]] = {}
    for _ in range(options.repeats):
        for way, pair in pairs.items():
            for jobs in (1, 2):
                readings.setdefault((way, jobs), []).extend(turn(pair[:jobs]))
    for pair in pairs.values():
        for job in pair:
            job.send(0)
    for (way, jobs), found in readings.items():
        wall, processor = zip(*found, strict=True)
        print(
            f"{way}, {jobs} at once: {statistics.median(wall):.3f} s a pass, median of "
            f"n = {len(wall)}, {min(wall):.3f} to {max(wall):.3f}; "
            f"{statistics.median(processor):.3f} s of the processor"
        )
    alone = {way: statistics.median(wall for wall, _ in readings[way, 1]) for way in WAYS}
    ratio = alone["asleep"] / alone["busily"]
    met = ratio < TARGET
    print(
        f"{'PASS' if met else 'MISS'} threads: asleep, a job alone takes {ratio:.2f} times as "
        f"long, target below {TARGET}"
    )
    return 0 if met else 1


def start(policy: str | None, threads: int) -> list[Connection]:
    """Two jobs that wait for a turn."""
    os.environ.pop(POLICY, None)
    if policy is not None:
        os.environ[POLICY] = policy
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(2):
        mine, theirs = context.Pipe()
        context.Process(target=work, args=(threads, theirs), daemon=True).start()
        mine.recv()
        pipes.append(mine)
    return pipes


def turn(jobs: list[Connection]) -> list[Reading]:
    """All of `jobs` at once."""
    for job in jobs:
        job.send(PASSES)
    return [job.recv() for job in jobs]


def work(threads: int, orders: Connection) -> None:
    """Warm up and say so, then do as many passes as are asked for, until none are."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    model = build("wrn-10-2", num_classes=10, mean=[0.5] * 3, std=[0.25] * 3)
    attacked = frozen(model.to(memory_format=torch.channels_last), dtype=None)
    x = torch.rand(256, 3, 32, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = torch.arange(256) % 10

    def attack_pass() -> None:
        torch.autograd.grad(F.cross_entropy(attacked(x), y, reduction="sum"), x)

    attack_pass()
    orders.send(None)
    while passes := orders.recv():
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(passes):
            attack_pass()
        spent = time.perf_counter() - wall, time.process_time() - processor
        orders.send((spent[0] / passes, spent[1] / passes))


if __name__ == "__main__":
    sys.exit(main())
