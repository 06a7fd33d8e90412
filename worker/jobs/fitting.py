"""Whether a training step fits into the memory, and if not, which batch size would.

A GPU refuses what does not fit, so there the steps themselves tell. The host's memory is promised
first and fetched later, until the kernel ends the process without a word; so the first step's need
is foreseen from two small ones. Both run on a copy of the student, with images and generators of
their own: nothing that the training goes on with is touched.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from app.errors import JobError
from worker.data import TensorSplit
from worker.recipes import Batch, Networks, Parameters, Recipe

Trial = Callable[[int], None]
"""Takes one step with so many images, and leaves nothing."""
_MULTIPLE = 8
"""Of this are the batch sizes that are measured and advised."""
_BESIDE = 1.5
"""What a step takes of the process's memory, over the bytes of its tensors: the convolutions' own
buffers, and gaps in the heap. Seen: 1.0 (PreActResNet-18) to 1.5 (WRN-10-1)."""


def trial_of(
    recipe: Recipe, networks: Networks, parameters: Parameters, train: TensorSplit
) -> Trial:
    """The recipe's step on a copy of the student; one attack step, as each needs the same."""
    device = train.labels.device
    short = replace(parameters, attack=replace(parameters.attack, steps=1))

    def step(images: int) -> None:
        rows = torch.arange(images, device=device) % len(train.labels)
        x, y = train.batch(rows)
        own = replace(networks, student=copy.deepcopy(networks.student), seeing=None)
        batch = Batch(x=x, y=y, draw_prime=lambda _: x, generator=torch.Generator(device))
        # Layers such as dropout draw from torch's own generators.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.autograd.backward(recipe(own, batch, short)().loss)

    return step


def foresee(trial: Trial, batch_size: int, available: int, team: int = 1) -> None:
    """Refuse a batch that needs more than `available` bytes.

    `team`: how many processes share the batch, each with so many bytes.
    Raises JobError, which names the batch size that would fit.
    """
    two, four = (_BESIDE * _peak_of(trial, images) for images in (2, 4))
    each = (four - two) / 2
    fixed = two - 2 * each
    need = fixed + each * -(-batch_size // team)
    if need > available:
        most = int((available - fixed) / each) // _MULTIPLE * _MULTIPLE * team
        raise _refusal(
            f"A step with {batch_size:,} images needs about {_size(need)} of memory"
            f"{' in each process' if team > 1 else ''}, and {_size(available)} are free.",
            most,
        )


def refusal(trial: Trial, batch_size: int, team: int = 1) -> JobError:
    """What to say when a step ran out of memory: finds the batch size that fits by trying.

    `team`: how many processes share a batch.
    """
    fits, fails = 0, -(-batch_size // (team * _MULTIPLE))  # in multiples
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _is_possible(trial, middle * _MULTIPLE):
            fits = middle
        else:
            fails = middle
    return _refusal(
        f"The memory of the device is not enough for a step with {batch_size:,} images.",
        fits * _MULTIPLE * team,
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the GPU's or the host's allocator raised it."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _is_possible(trial: Trial, images: int) -> bool:
    try:
        trial(images)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _refusal(detail: str, most: int) -> JobError:
    hint = (
        f"Use a batch size of at most {most:,}."
        if most >= _MULTIPLE
        else "Use a smaller architecture: not even 8 images at once would fit."
    )
    return JobError(detail, hint=hint)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that come into being, and the most that exist at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._now = 0
        self.peak = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = True
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, count: int) -> None:
        self._now -= count


def _peak_of(trial: Trial, images: int) -> int:
    """The most bytes that the tensors of a trial take at once; linear in the images."""
    live = _Live()
    with live:
        trial(images)
    return live.peak
