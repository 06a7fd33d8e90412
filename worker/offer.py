"""What this worker has: the facts by which jobs are placed."""

from __future__ import annotations

import os
import platform
import socket
import time
from functools import lru_cache

import devices
from app.contracts.placement import Offer, OfferedGpu
from app.settings import RELEASE, code_version
from worker.room import all_memory, cores

_LONGEST = 100
_MEASURED_FOR_S = 0.05
_SIDE = {"cpu": 512, "cuda": 4096}
"""Of the matrices that are multiplied: large enough to keep the device busy."""


@lru_cache
def facts() -> Offer:
    """What this machine gives to one of its processes, called by host and process.

    Asks the driver's tool, which may take a second; and not torch, which knows nothing before a
    fork.
    """
    memory = all_memory()
    return Offer(
        name=f"{socket.gethostname()[: _LONGEST - 20]}:{os.getpid()}",
        host=socket.gethostname()[:_LONGEST],
        machine=platform.machine(),
        cores=cores(),
        memory_mb=None if memory is None else memory // 2**20,
        gpus=tuple(
            OfferedGpu(name=gpu.name[:_LONGEST], memory_mb=gpu.memory_mb)
            for gpu in devices.described(os.environ)
        ),
        version=code_version(),
        release=RELEASE,
    )


def called(name: str) -> Offer:
    """The same of a worker that has a name of its own, `train@host`."""
    return facts().model_copy(update={"name": name})


def measured_gflops() -> float:
    """How fast the device multiplies matrices in float32, in 10^9 operations a second; takes about
    a tenth of a second. Of a busy machine it is less."""
    import torch

    from worker.registry import device

    side = _SIDE[device().type]
    a = torch.ones(side, side, device=device())
    best, began = float("inf"), time.monotonic()
    while time.monotonic() - began < _MEASURED_FOR_S:
        start = time.monotonic()
        float((a @ a)[0, 0])  # waits for the device
        best = min(best, time.monotonic() - start)
    return 2 * side**3 / best / 1e9
