"""Images per second of an AGKD-BML training step, beside the same step as research code writes it.

    python -m bench.training [--repeats 15] [--threads 2]      from the root of the repository

Both sides compute the loss of one batch of 128 and its gradient, WRN-10-2, 10 + 10 attack steps,
eps 8/255, from the same weights, images and random starts, in turns within one run:

- the lab's step: both attacks as one batch of 2N, no gradient for parameters, channels-last, and
  freed memory kept, as a worker does;
- a plain step: the two attacks one after the other, each backwards through the whole graph, which
  computes every parameter's gradient to throw it away, contiguous, memory as malloc likes it.

Each side has a process of its own, since memory is a matter of the process; one waits while the
other works.

PASS: every loss of the two agrees to 1e-4, and the ratio of the median times is above 1.

The losses are compared in double precision. In single precision the two sides round differently,
sign() turns the rounding of a gradient near zero into a whole step, and ten steps carry that on:
that difference is printed as well, as what rounding alone does to this loss.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.examples import TrainingAttack, most_confusing_class
from worker.agkd_bml.objective import Losses, Weights, agkd_bml_losses
from worker.agkd_bml.step import agkd_bml_step
from worker.memory import keep_freed_memory
from worker.models import Classifier, Outputs, build

N, CLASSES = 128, 10
ATTACK = TrainingAttack(eps=8 / 255, step_size=2 / 255, steps=10)
WEIGHTS = Weights(
    smoothing=0.5, mart_beta=6.0, agkd_weight=1.0, bml_weight=2.0, margin=0.03, mu=0.001
)
TARGET_RATIO, TOLERANCE = 1.0, 1e-4

Step = Callable[[int], Losses]


def main() -> int:
    """Prints the figures; 0 if the target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="measured steps of each side")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    with sides(arguments.threads) as steps:
        times, rounding = measure(steps, arguments.repeats)
    torch.set_num_threads(arguments.threads)
    difference = difference_in_double_precision()
    print(
        f"AGKD-BML step, WRN-10-2, batch {N}, {ATTACK.steps} + {ATTACK.steps} attack steps, ",
        end="",
    )
    print(f"torch {torch.__version__}, {arguments.threads} threads")
    for name, seconds in times.items():
        print(f"{name:>6}: {describe(seconds)}")
    print(f"largest difference of a loss, double precision: {difference:.1e}, at most {TOLERANCE}")
    print(f"largest difference of a loss, single precision, all steps: {rounding:.1e}")
    ratio = statistics.median(times["plain"]) / statistics.median(times["lab"])
    met = ratio > TARGET_RATIO and difference <= TOLERANCE
    print(
        f"{'PASS' if met else 'MISS'} training: {ratio:.2f} times the plain step's images/s, "
        f"target above {TARGET_RATIO:.2f}"
    )
    return 0 if met else 1


@contextmanager
def sides(threads: int) -> Iterator[dict[str, Connection]]:
    """The two sides at work, by name: send a seed, receive seconds and losses."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in ("lab", "plain"):
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(name, threads, theirs), daemon=True))
        processes[-1].start()
    try:
        yield pipes
    finally:
        for process in processes:
            process.terminate()
            process.join()


def work(name: str, threads: int, orders: Connection) -> None:
    """Do a step for every seed that comes; the body of a side's process."""
    torch.set_num_threads(threads)
    if name == "lab":
        keep_freed_memory()
    step = lab_step() if name == "lab" else plain_step()
    while True:
        seed = orders.recv()
        begin = time.perf_counter()
        losses = step(seed)
        orders.send((time.perf_counter() - begin, [loss.item() for loss in losses]))


def measure(steps: dict[str, Connection], repeats: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of every step, the sides in turns, and the largest difference of a loss."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    difference = 0.0
    for repeat in range(repeats + 1):
        losses = []
        for name, step in steps.items():
            step.send(repeat)
            seconds, of_step = step.recv()
            losses.append(of_step)
            if repeat > 0:  # the first one warms up
                times[name].append(seconds)
        difference = max(difference, largest_difference(*losses))
    return times, difference


def difference_in_double_precision() -> float:
    """The largest difference of a loss between the two sides, from the same random starts."""
    torch.set_default_dtype(torch.float64)
    try:
        mine, other = ([loss.item() for loss in step(0)] for step in (lab_step(), plain_step()))
        return largest_difference(mine, other)
    finally:
        torch.set_default_dtype(torch.float32)


def largest_difference(a: list[float], b: list[float]) -> float:
    """Of the five losses, term by term."""
    return max(abs(mine - other) for mine, other in zip(a, b, strict=True))


def describe(seconds: list[float]) -> str:
    """Median images/s, n, and the range that holds the middle half of the steps."""
    rates = sorted(N / second for second in seconds)
    low, middle, high = (
        statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
    )
    return (
        f"{middle:6.1f} images/s, median of n = {len(rates)}, middle half {low:.1f} to {high:.1f}"
    )


def networks_and_images(
    memory_format: torch.memory_format,
) -> tuple[Classifier, Classifier, Tensor]:
    """Student, teacher and a pool of images by class, (CLASSES, N, 3, 32, 32), always the same."""
    torch.manual_seed(0)
    student, teacher = (
        build("wrn-10-2", num_classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3) for _ in range(2)
    )
    pool = torch.rand(CLASSES, N, 3, 32, 32)
    student.to(memory_format=memory_format)
    return student, teacher.eval().to(memory_format=memory_format), pool


def lab_step() -> Step:
    """The lab's step and its gradient; called with the seed of the random starts."""
    student, teacher, pool = networks_and_images(torch.channels_last)
    y = torch.arange(N) % CLASSES

    def images(classes: Tensor) -> Tensor:
        return pool[classes, torch.arange(N)].contiguous(memory_format=torch.channels_last)

    x = images(y)

    def step(seed: int) -> Losses:
        student.zero_grad()
        generator = torch.Generator().manual_seed(seed)
        losses, _ = agkd_bml_step(
            student, teacher, x, y, images, attack=ATTACK, weights=WEIGHTS, generator=generator
        )
        torch.autograd.backward(losses.total)
        return losses

    return step


def plain_step() -> Step:
    """The plain step and its gradient; called with the seed of the random starts."""
    student, teacher, pool = networks_and_images(torch.contiguous_format)
    y = torch.arange(N) % CLASSES
    x = pool[y, torch.arange(N)]

    def attack(images: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        x_adv = (images + ATTACK.eps * noise).clamp(0, 1)
        for _ in range(ATTACK.steps):
            x_adv.requires_grad_()
            student.zero_grad()
            torch.autograd.backward(F.cross_entropy(student(x_adv), target))
            assert x_adv.grad is not None
            moved = x_adv.detach() - ATTACK.step_size * x_adv.grad.sign()
            delta = (moved - images).clamp(-ATTACK.eps, ATTACK.eps)
            x_adv = (images + delta).clamp(0, 1)
        return x_adv

    def step(seed: int) -> Losses:
        generator = torch.Generator().manual_seed(seed)
        student.eval()
        with torch.no_grad():
            y_prime = most_confusing_class(student(x), y)
        x_prime = pool[y_prime, torch.arange(N)]
        x_f, x_b = attack(x, y_prime, generator), attack(x_prime, y, generator)
        student.train()
        student.zero_grad()
        seen = student.outputs(torch.cat([x_f, x, x_b]))
        forward, clean, backward = map(Outputs, *(part.chunk(3) for part in seen))
        with torch.no_grad():
            of_x, of_x_prime = teacher.outputs(torch.cat([x, x_prime])).features.chunk(2)
        losses = agkd_bml_losses(
            student_forward=forward,
            student_clean=clean,
            student_backward=backward,
            teacher_clean=of_x,
            teacher_prime=of_x_prime,
            y=y,
            weights=WEIGHTS,
        )
        torch.autograd.backward(losses.total)
        return losses

    return step


if __name__ == "__main__":
    sys.exit(main())
