"""The AGKD-BML step of one network on this device: the lab's ways to take it, and the plain one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.gpu import RunPart, Tell
from bench.steps import LabStep, Setting, TakeStep, operations, plain_step
from worker import registry
from worker.attacks import Model
from worker.jobs.replaying import WARM_UPS, aside, recorded
from worker.recipes import Networks

_ROUNDS = 12
"""At most, of every side in turn."""
_PLAIN = "plain"


@dataclass(frozen=True)
class Way:
    """One side of the comparison."""

    name: str
    dtype: torch.dtype | None = torch.bfloat16
    graph: bool = False
    """Replayed as one CUDA graph."""
    compiled: bool = False
    """The attacked copy and both bodies by torch.compile."""
    tuned: bool = False
    """cuDNN tries its algorithms out."""


_WAYS = (
    Way("lab, bfloat16"),
    Way("lab, bfloat16, graph", graph=True),
)
_LATER = (
    Way("lab, float32", dtype=None),
    Way("lab, bfloat16, tuned", tuned=True),
    Way("lab, bfloat16, tuned, graph", tuned=True, graph=True),
    Way("lab, bfloat16, compiled, tuned, graph", compiled=True, tuned=True, graph=True),
    Way("lab, bfloat16, compiled", compiled=True),
)
"""One after the other in the second half of the time: float32, trying algorithms out and compiling
may take all that is left."""


@dataclass
class _Side:
    step: TakeStep
    around: Callable[[], AbstractContextManager[Any]]
    operations: float
    seconds: list[float] = field(default_factory=list)
    loss: float = 0.0


class _Compiled(Networks):
    def attacked(self) -> Model:
        return torch.compile(super().attacked(), dynamic=False)


def of(architecture: str) -> RunPart:
    """The part of one network."""

    def run(tell: Tell, seconds: float) -> None:
        end = time.monotonic() + seconds
        gpu = registry.device().type == "cuda"
        setting = (
            Setting(architecture=architecture, device="cuda")
            if gpu
            else Setting(architecture="wrn-10-1", images=8, steps=2)
        )
        peaks = _peaks(tell, gpu)
        sides = {_PLAIN: _plain(setting)}
        for way in _WAYS if gpu else (_WAYS[0], _LATER[0]):
            _add(tell, sides, way, setting)
        _take_turns(tell, sides, setting, peaks, end - (0.5 * seconds if gpu else 0.0))
        for way in _LATER if gpu else ():
            if _add(tell, sides, way, setting):
                _take_turns(tell, sides, setting, peaks, end)

    return run


def _peaks(tell: Tell, gpu: bool) -> dict[torch.dtype, tuple[float, float]]:
    """Operations per second of a large matrix product and of a large convolution, by type."""
    size, images = (8192, 1024) if gpu else (256, 4)
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        product, convolution = _product(dtype, size), _convolution(dtype, images)
        other = _convolution(dtype, images, torch.contiguous_format)
        found[dtype] = (product, convolution)
        tell(
            f"peak, {str(dtype).removeprefix('torch.')}",
            {
                "product": product, "convolution": convolution, "contiguous": other,
                "text": f"a matrix product of {size} does {product / 1e12:.2f} TFLOP/s, a "
                f"convolution {convolution / 1e12:.2f}, a contiguous one {other / 1e12:.2f}",
            },
        )  # fmt: skip
    return found


def _product(dtype: torch.dtype, size: int) -> float:
    """Of random numbers: zeros would be faster."""
    a, b = torch.randn(2, size, size, device=registry.device()).to(dtype)
    return 2 * size**3 / _fastest(lambda: a @ b)


def _convolution(
    dtype: torch.dtype, images: int, layout: torch.memory_format = torch.channels_last
) -> float:
    """3x3, 160 to 160 channels at 32x32: that of WRN-28-10's first stage."""
    channels = 160
    x = torch.randn(images, channels, 32, 32, device=registry.device())
    weight = torch.randn(channels, channels, 3, 3, device=registry.device())
    x, weight = (part.to(dtype, memory_format=layout) for part in (x, weight))
    return 2 * x.numel() * channels * 9 / _fastest(lambda: F.conv2d(x, weight, padding=1))


def _fastest(work: Callable[[], Tensor]) -> float:
    """Seconds of the fastest of ten runs, after three."""
    return min(_timed(work) for _ in range(13))


def _timed(work: Callable[[], object]) -> float:
    begin = _now()
    work()
    return _now() - begin


def _now() -> float:
    """When all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _plain(setting: Setting) -> _Side:
    """As torch comes: convolutions of float32 multiply 10 bits of the mantissa (TF32) on a GPU."""
    step = plain_step(setting)
    as_it_comes = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=True)
    return _Side(step, as_it_comes, operations(step))


def _add(tell: Tell, sides: dict[str, _Side], way: Way, setting: Setting) -> bool:
    """Prepare one of the lab's ways; one that cannot be had is told, and left out."""
    begin = time.monotonic()
    try:
        sides[way.name] = _lab(way, setting)
    except Exception as error:
        text = f"FAILED: {type(error).__name__}: {error}"[:300]
        tell(way.name, {"failed": True, "text": text})
        return False
    took = time.monotonic() - begin
    tell(f"{way.name}, prepared", {"seconds": took, "text": f"{took:.1f} s"})
    return True


def _lab(way: Way, setting: Setting) -> _Side:
    lab = LabStep(setting, way.dtype, _Compiled if way.compiled else Networks)
    counted = operations(lab) if not way.compiled else 0.0
    if way.compiled:
        lab.compile_bodies()

    def around() -> AbstractContextManager[Any]:
        return (
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
            if way.tuned
            else nullcontext()
        )

    with around():
        for seed in range(WARM_UPS):
            lab.generator.manual_seed(seed)
            aside(lab.work) if way.graph else lab.work()
        replay = recorded(lab.work, [lab.generator]) if way.graph else lab.work

    def step(seed: int) -> dict[str, Tensor]:
        lab.generator.manual_seed(seed)
        return replay()

    return _Side(step, around, counted)


def _take_turns(
    tell: Tell,
    sides: dict[str, _Side],
    setting: Setting,
    peaks: dict[torch.dtype, tuple[float, float]],
    end: float,
) -> None:
    """Rounds until the time is over, two at least; every round is told."""
    done = 0
    while done < 2 or (done < _ROUNDS and time.monotonic() < end):
        for side in sides.values():
            with side.around():
                begin = _now()
                losses = side.step(done)
                side.seconds.append(_now() - begin)
                side.loss = losses["loss"].item()
        done += 1
        _report(tell, sides, setting, peaks)


def _report(
    tell: Tell,
    sides: dict[str, _Side],
    setting: Setting,
    peaks: dict[torch.dtype, tuple[float, float]],
) -> None:
    """Images per second, and the share of peak of the operations that the lab's step needs.

    The plain step computes more, parameters' gradients in its attacks: they count for it.
    """
    needed = sides["lab, bfloat16"].operations
    plain = statistics.median(sides[_PLAIN].seconds)
    ways = {way.name: way for way in (*_WAYS, *_LATER)}
    best: dict[str, Any] = {"gpu": torch.cuda.is_available(), "ratio": 0.0, "peak": 0.0}
    for name, side in sides.items():
        middle = statistics.median(side.seconds)
        way = ways.get(name)
        dtype = torch.float32 if way is None else way.dtype or torch.float32
        speed = (side.operations or needed) / middle
        product, convolution = peaks[dtype]
        rates = [setting.images / s for s in (max(side.seconds), middle, min(side.seconds))]
        share = {"peak": speed / product, "of_convolution": speed / convolution}
        spread = f"{rates[0]:,.1f} to {rates[2]:,.1f}, n = {len(side.seconds)}"
        text = (
            f"{rates[1]:,.1f} images/s ({spread}), "
            f"{speed / 1e12:.2f} TFLOP/s, {share['peak']:.0%} of a product's, "
            f"{share['of_convolution']:.0%} of a convolution's, {plain / middle:.2f} times plain, "
            f"loss {side.loss:.4f}"
        )
        tell(name, {"images_per_s": rates[1], "seconds": side.seconds, "ratio": plain / middle,
                    "operations": side.operations or needed, "loss": side.loss, **share,
                    "text": text})  # fmt: skip
        if way is not None and plain / middle > best["ratio"]:
            best |= {"ratio": plain / middle, "peak": share["peak"], "way": name}
    best["text"] = (
        f"{setting.architecture}, batch {setting.images}, {setting.steps} + {setting.steps} steps: "
        f"fastest is {best['way']}, {best['ratio']:.2f} times plain, {best['peak']:.0%} of peak"
    )
    tell("summary", best)
