"""What an import leaves."""

from __future__ import annotations

from typing import Literal

from app.contracts.results.base import Result


class LeftOut(Result):
    """Files that are not in the dataset."""

    reason: str
    """In words: `pictures that are damaged`. May hold outside text."""
    count: int


class DatasetWarning(Result):
    """What weakens a dataset, or a guess about it."""

    kind: str
    """For programs, such as `test_in_train`."""
    text: str
    """For people, in sentences; may hold outside text."""
    count: int = 0
    """How many images or classes."""


class DatasetReport(Result):
    """What an import found."""

    classes: tuple[str, ...]
    """By label."""
    image_size: int
    train_images: int
    """Images to train on, the validation images among them; 0 in a dataset for evaluation."""
    test_images: int
    layout: str = ""
    """How the archive was laid out, in words; empty where there was none."""
    train_counts: tuple[int, ...] = ()
    """Training images by class."""
    validation_counts: tuple[int, ...] = ()
    """Those of them, by class, that are the validation part that the archive came with; empty where
    it had none, and a tenth is held out."""
    test_counts: tuple[int, ...] = ()
    """Test images by class."""
    skipped: int = 0
    """Images that could not be read."""
    skipped_examples: tuple[str, ...] = ()
    """Some of them, and why."""
    left_out: tuple[LeftOut, ...] = ()
    """All files that are not in the dataset, by the reason."""
    notes: tuple[str, ...] = ()
    """How the archive was understood, in sentences."""
    warnings: tuple[DatasetWarning, ...] = ()
    has_masks: bool = False
    checksum: str

    @property
    def files_left_out(self) -> int:
        """How many files are not in the dataset; of older imports, how many images."""
        return sum(one.count for one in self.left_out) if self.left_out else self.skipped


class ImportResult(Result):
    """The dataset of an import, or what a preview would have imported."""

    kind: Literal["import"] = "import"
    dataset: str | None
    """Its id; None after a preview, which keeps nothing."""
    report: DatasetReport
    examples: tuple[str, ...] = ()
    """After a preview: images of the first classes, side by side, as PNG in base64."""
