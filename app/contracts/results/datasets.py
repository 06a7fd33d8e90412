"""What an import leaves."""

from __future__ import annotations

from typing import Literal

from app.contracts.results.base import Result


class DatasetReport(Result):
    """What an import found. `skipped` counts files left out; `skipped_examples` names some."""

    classes: tuple[str, ...]
    image_size: int
    train_images: int
    test_images: int
    skipped: int = 0
    skipped_examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_masks: bool = False
    checksum: str


class ImportResult(Result):
    kind: Literal["import"] = "import"
    dataset: str
    report: DatasetReport
