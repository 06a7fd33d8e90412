"""What a file of many images holds, once it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.jobs.converting import Refused

__all__ = ["TEST", "TRAIN", "VALIDATION", "Files", "Refused", "Unpacked"]

Files = Sequence[tuple[str, int, Path]]
"""Their names, without folders, and their parts as `worker.data.containers.PARTS` numbers them."""
TRAIN, VALIDATION, TEST = 1, 2, 3


@dataclass
class Unpacked:
    """Images with labels: pixels (N, H, W, 3), or files one after the other."""

    kind: str
    labels: Any
    parts: Any
    classes: Sequence[str] | None
    pixels: Any = None
    ordered: bool = True
    """Whether the order of the classes is the source's own."""
    turned: bool | None = None
    """Whether pixels were blue, green, red and have been turned; None where they are grey, or their
    order is that of a published dataset."""
    files: Iterator[bytes] | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
