"""Work of fixed shapes as one CUDA graph.

A training step of a small network is thousands of kernels of a few microseconds, which Python
launches slower than a large GPU computes them. A graph is recorded once and launches them all at
once: the same kernels on the same memory, so the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

import torch

Made = TypeVar("Made")

WARM_UPS = 3
"""Runs before a recording: libraries choose their kernels and take their memory in the first."""


def is_possible(device: torch.device) -> bool:
    """Whether the device has graphs."""
    return device.type == "cuda"


def recorded(work: Callable[[], Made], generators: Iterable[torch.Generator]) -> Callable[[], Made]:
    """`work` as a graph of the current CUDA device; each call of the result does it once more.

    Recording runs nothing, so `work` was run `WARM_UPS` times before, by `aside`. It always reads
    and writes the same tensors, waits for the device nowhere, and leaves what it returns in memory
    that the next call overwrites.

    Args:
        generators: those on the device that `work` draws from; torch's own needs no mention.

    Raises:
        RuntimeError: `work` does what cannot be recorded. It may be run as before.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=_side()):
        made = work()

    def replay() -> Made:
        graph.replay()
        return made

    return replay


def aside(work: Callable[[], Made]) -> Made:
    """Run `work` on the stream that recordings are made on, and let the current one wait for it."""
    stream = _side()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        made = work()
    torch.cuda.current_stream().wait_stream(stream)
    return made


@lru_cache
def _side() -> torch.cuda.Stream:
    """One for all: what a stream has freed, only the same one takes again."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
