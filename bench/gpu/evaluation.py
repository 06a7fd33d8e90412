"""A curve and AutoAttack on this device, beside those published libraries that are installed."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from pathlib import Path

import torch

from bench.attackers import SIDES
from bench.gpu import Tell
from bench.models import of_shapes
from worker import registry
from worker.models import Classifier

_LIBRARIES = {
    "torchattacks_curve": "torchattacks",
    "torchattacks_autoattack": "torchattacks",
    "pyautoattack": "pyautoattack",
}
_COMPARISONS = {
    "curve": ("lab_curve", "torchattacks_curve"),
    "autoattack": ("lab_autoattack", "pyautoattack", "torchattacks_autoattack"),
}


def run(tell: Tell, seconds: float) -> None:
    """Batch after batch, all sides on each, as long as there is time."""
    end = time.monotonic() + seconds
    device = registry.device()
    size = 256 if device.type == "cuda" else 8
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        trained = of_shapes(Path(folder))
        model, (images, labels) = trained.model().to(device), trained.images()
    tell("model", {"text": trained.title})
    for number, (comparison, names) in enumerate(_COMPARISONS.items()):
        missing = [n for n in names if n in _LIBRARIES and not _installed(_LIBRARIES[n])]
        for name in missing:
            tell(name, {"skipped": True, "text": f"{_LIBRARIES[name]} is not installed"})
        present = [name for name in names if name not in missing]
        until = end if number else time.monotonic() + (end - time.monotonic()) / 3
        _compare(tell, comparison, present, model, images, labels, size, until)


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _compare(
    tell: Tell, comparison: str, names: list[str], model: Classifier,
    images: torch.Tensor, labels: torch.Tensor, size: int, until: float,
) -> None:  # fmt: skip
    device = registry.device()
    sides = {}
    for name in names:
        layout = torch.channels_last if name.startswith("lab") else torch.contiguous_format
        sides[name] = (SIDES[name](model.to(memory_format=layout)), layout)
    taken: dict[str, list[float]] = {name: [] for name in names}
    right: dict[str, list[int]] = {name: [] for name in names}
    batch = 0
    while batch < 1 or (time.monotonic() < until and (batch + 1) * size <= len(labels)):
        rows = slice(batch * size, (batch + 1) * size)
        for name, (side, layout) in sides.items():
            model.to(memory_format=layout)
            x = images[rows].to(device).contiguous(memory_format=layout)
            begin = time.perf_counter()
            found = side(x, labels[rows].to(device), batch + 1)  # a list of counts: it has waited
            taken[name].append(time.perf_counter() - begin)
            right[name] = [
                a + b for a, b in zip(right[name] or [0] * len(found), found, strict=True)
            ]
            _report(tell, comparison, name, taken, right, size)
        batch += 1


def _report(
    tell: Tell, comparison: str, name: str, taken: dict[str, list[float]],
    right: dict[str, list[int]], size: int,
) -> None:  # fmt: skip
    seconds, n = taken[name], size * len(taken[name])
    first = next(iter(taken))
    ratio = statistics.median(seconds) / statistics.median(taken[first])
    share = ", ".join(f"{count / n:.1%}" for count in right[name])
    text = (
        f"{size / statistics.median(seconds):.1f} images/s, n = {n}, right {share}; "
        f"{ratio:.2f} times the lab's time"
    )
    tell(f"{comparison}: {name}", {"seconds": seconds, "right": right[name], "n": n,
                                   "ratio": ratio, "text": text})  # fmt: skip
