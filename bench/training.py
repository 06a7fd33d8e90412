"""Images per second of an AGKD-BML training step, beside the same step as research code writes it.

    python -m bench.training [--repeats 15] [--threads 2]      from the root of the repository
    python -m bench.training --threads 1 --clock cpu           where other work shares the machine

`bench/steps.py` has the two steps. The lab's runs in float32 and, where the machine multiplies
bfloat16 natively, in bfloat16 as well; freed memory is kept, as a worker does. The plain step runs
in float32, with memory as malloc likes it. Each has a process of its own, since memory is a matter
of the process; they take turns within one run, and so do the two things that a step's speed is
held against: the floating-point operations per second of one large matrix product and of one large
convolution. With `--clock cpu` all seconds are those of the processor, which other work does not
lengthen.

PASS: every loss of the lab's step and of the plain one agrees to 1e-4, and the lab's images per
second are at least 1.5 times the plain step's, in float32 and in bfloat16; 2 times is the goal.

The losses are compared in double precision. In single precision the two round differently, sign()
turns the rounding of a gradient near zero into a whole step, and ten steps carry that on: that
difference is printed as well, as what rounding alone does to this loss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import torch
from torch.nn import functional as F

from bench.steps import LabStep, Setting, TakeStep, operations, plain_step
from worker.memory import keep_freed_memory
from worker.recipes.precision import bfloat16_is_native

TARGET_RATIO, GOAL_RATIO, TOLERANCE = 1.5, 2.0, 1e-4
SETTING = Setting()
PLAIN = "plain, float32"
LAB: dict[str, torch.dtype | None] = {"lab, float32": None, "lab, bfloat16": torch.bfloat16}

Clock = Callable[[], float]
_CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class Side:
    """What one process measured."""

    seconds: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    operations: float = 0.0
    """Of one step, floating-point."""
    product: list[float] = field(default_factory=list)
    """Operations per second of a large matrix product, in the side's type."""
    convolution: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Images per second, the median."""
        return SETTING.images / statistics.median(self.seconds)


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    arguments = _arguments()
    names = [*LAB, PLAIN]
    if not bfloat16_is_native(torch.device("cpu")):
        names.remove("lab, bfloat16")
    with _processes(names, arguments.threads, arguments.clock) as pipes:
        sides = _measure(pipes, arguments.repeats)
    torch.set_num_threads(arguments.threads)
    difference = _difference_in_double_precision()
    print(
        f"AGKD-BML step, {SETTING.architecture}, batch {SETTING.images}, "
        f"{SETTING.steps} + {SETTING.steps} attack steps, "
        f"torch {torch.__version__}, threads {arguments.threads}, {arguments.clock} seconds"
    )
    for name, side in sides.items():
        print(f"{name:>14}: {_describe(side)}")
    print(f"largest difference of a loss, double precision: {difference:.1e}, at most {TOLERANCE}")
    for name in sorted(sides.keys() - {PLAIN}, reverse=True):
        pairs = zip(sides[name].losses, sides[PLAIN].losses, strict=True)
        rounding = max(_largest_difference(*pair) for pair in pairs)
        print(f"largest difference of a loss, {name} and plain, all steps: {rounding:.1e}")
    ratios = {name: side.rate / sides[PLAIN].rate for name, side in sides.items() if name != PLAIN}
    met = min(ratios.values()) >= TARGET_RATIO and difference <= TOLERANCE
    figures = "; ".join(f"{name}: {ratio:.2f} times" for name, ratio in ratios.items())
    print(
        f"{'PASS' if met else 'MISS'} training: {figures} the plain step's images/s, "
        f"target at least {TARGET_RATIO}, goal {GOAL_RATIO}"
    )
    return 0 if met else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="measured steps of each side")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--clock", choices=_CLOCKS, default="wall", help="cpu: with one thread")
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != 1:
        parser.error("processor seconds of several threads say nothing about speed: --threads 1")
    return arguments


@contextmanager
def _processes(names: list[str], threads: int, clock: str) -> Iterator[dict[str, Connection]]:
    """The sides at work, by name: send a seed, receive what `_work` sends."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in names:
        pipes[name], theirs = context.Pipe()
        arguments = (name, threads, clock, theirs)
        processes.append(context.Process(target=_work, args=arguments, daemon=True))
        processes[-1].start()
    try:
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(name: str, threads: int, clock: str, orders: Connection) -> None:
    """Count the operations of a first step, which warms up, then time one for every seed that
    comes; a process's body."""
    now = _CLOCKS[clock]
    torch.set_num_threads(threads)
    if name != PLAIN:
        keep_freed_memory()
    step = _step(name)
    dtype = LAB.get(name) or torch.float32
    orders.send(operations(step))
    while True:
        seed = orders.recv()
        begin = now()
        losses = step(seed)
        seconds = now() - begin
        speeds = _product(dtype, now), _convolution(dtype, now)
        orders.send((seconds, {key: loss.item() for key, loss in losses.items()}, speeds))


def _step(name: str) -> TakeStep:
    return plain_step(SETTING) if name == PLAIN else LabStep(SETTING, LAB[name])


def _product(dtype: torch.dtype, now: Clock, size: int = 2048) -> float:
    a, b = torch.ones(2, size, size, dtype=dtype)
    begin = now()
    a @ b
    return 2 * size**3 / (now() - begin)


def _convolution(dtype: torch.dtype, now: Clock) -> float:
    """3x3, 128 to 128 channels, 256 images of 16x16, channels-last."""
    x = torch.ones(256, 128, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    begin = now()
    F.conv2d(x, weight, padding=1)
    return 2 * x.numel() * 128 * 9 / (now() - begin)


def _measure(pipes: dict[str, Connection], repeats: int) -> dict[str, Side]:
    sides = {name: Side(operations=pipe.recv()) for name, pipe in pipes.items()}
    for repeat in range(1, repeats + 1):
        for name, pipe in pipes.items():
            pipe.send(repeat)
            seconds, losses, (product, convolution) = pipe.recv()
            side = sides[name]
            side.seconds.append(seconds)
            side.losses.append(losses)
            side.product.append(product)
            side.convolution.append(convolution)
    return sides


def _difference_in_double_precision() -> float:
    """The largest difference of a loss between the two steps, from the same random starts."""
    torch.set_default_dtype(torch.float64)
    try:
        lab, plain = (
            {name: loss.item() for name, loss in step(0).items()}
            for step in (LabStep(SETTING, None), plain_step(SETTING))
        )
        return _largest_difference(lab, plain)
    finally:
        torch.set_default_dtype(torch.float32)


def _largest_difference(a: dict[str, float], b: dict[str, float]) -> float:
    """Of the total and of each term."""
    assert a.keys() == b.keys()
    return max(abs(a[name] - b[name]) for name in a)


def _describe(side: Side) -> str:
    """Median images/s, n, the range of the middle half, and the share of the machine's peak."""
    rates = sorted(SETTING.images / seconds for seconds in side.seconds)
    low, middle, high = (
        statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
    )
    speed = side.operations / statistics.median(side.seconds)
    product, convolution = max(side.product), max(side.convolution)
    return (
        f"{middle:6.1f} images/s, median of n = {len(rates)}, middle half {low:.1f} to {high:.1f}; "
        f"{side.operations / 1e9:.0f} GFLOP a step, {speed / 1e9:.0f} GFLOP/s, "
        f"{speed / product:.0%} of a matrix product's {product / 1e9:.0f}, "
        f"{speed / convolution:.0%} of a convolution's {convolution / 1e9:.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
