"""Import of an archive of class folders."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagefile import UnreadableImageError
from worker.data.errors import DatasetError
from worker.data.images import decode_image
from worker.data.layout import ImageFile, Layout, find_layout, name_list, printable
from worker.data.members import Archive, open_archive
from worker.data.splits import stratified_holdout
from worker.data.store_format import Progress, remove_partial, write_dataset

IMAGE_SIZES = (32, 64)
TEST_FRACTION = 0.2
MIN_TRAIN = 2  # images a class: one to train on, one to validate on
NAMED = 20  # skipped files that a report names
REPORT_EVERY = 100  # images between two calls of `progress`


@dataclass(frozen=True)
class SkippedFile:
    """An image that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What became of an archive.

    Attributes:
        class_names: names by label.
        train_images: images in the training part.
        test_images: images in the test part.
        split_made: there were no train and test folders, so a fifth was drawn as the test part.
        skipped: images that could not be read.
        skipped_files: the first 20 of them.
        ignored: files that are no images of a class.
        remarks: the same in sentences, for a page.
    """

    class_names: tuple[str, ...]
    train_images: int
    test_images: int
    split_made: bool
    skipped: int
    skipped_files: tuple[SkippedFile, ...]
    ignored: int
    remarks: tuple[str, ...]


def import_archive(
    archive_path: Path,
    folder: Path,
    *,
    image_size: int,
    seed: int,
    label: str,
    source: str,
    progress: Progress,
) -> ImportReport:
    """Import a .zip, .tar, .tar.gz or .tar.xz of class folders as a dataset.

    Nothing is unpacked to disk. Images that cannot be read are skipped and reported. The report is
    kept in the dataset's notes too.

    Args:
        folder: the dataset to write; does not exist yet, and does not afterwards if this raises.
        image_size: 32 or 64; images are centre-cropped and resized to it.
        seed: of the split, where the archive has no train and test folders.
        label: name to show beside figures measured on the dataset.
        source: where the images come from, such as the uploaded file's name.
        progress: called with images done and images in all; what it raises ends the import.

    Raises:
        DatasetError: the archive cannot be used; says why and what to do.
        FileExistsError: `folder` exists.
        ValueError: `image_size` is neither 32 nor 64.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size must be one of {IMAGE_SIZES}, got {image_size}")
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    archive = open_archive(archive_path)
    layout = find_layout(archive.members())
    # A file without a name: it is gone when this process is, however it ends.
    with tempfile.TemporaryFile(dir=folder.parent) as scratch:
        shape = (len(layout.images), image_size, image_size, 3)
        pixels = np.memmap(scratch, dtype=np.uint8, mode="w+", shape=shape)
        reasons = _decode_all(archive, layout.images, pixels, progress)
        train, test = _choose_parts(layout, set(reasons), seed)
        labels = np.array([image.label for image in layout.images])
        report = _report(layout, reasons, len(train), len(test))
        write_dataset(
            folder,
            class_names=layout.class_names,
            train_images=pixels[train],
            train_labels=labels[train],
            test_images=pixels[test],
            test_labels=labels[test],
            label=label,
            source=source,
            notes=_notes(report),
        )
    return report


def _decode_all(
    archive: Archive, images: Sequence[ImageFile], pixels: NDArray[np.uint8], progress: Progress
) -> dict[int, str]:
    """Decode every image into its row of `pixels`; the rows that failed, and why."""
    reasons = {}
    progress(0, len(images))
    rows = {image.member.ordinal: row for row, image in enumerate(images)}
    for done, (row, data) in enumerate(archive.read(rows), start=1):
        try:
            if isinstance(data, str):
                raise UnreadableImageError(data)
            pixels[row] = decode_image(data, image_size=pixels.shape[1])
        except UnreadableImageError as error:
            reasons[row] = str(error)
        if done % REPORT_EVERY == 0 or done == len(images):
            progress(done, len(images))
    return reasons


def _choose_parts(
    layout: Layout, failed: set[int], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training and of the test part, without the failed ones."""
    good = np.array([row for row in range(len(layout.images)) if row not in failed], dtype=np.int64)
    labels = np.array([layout.images[row].label for row in good], dtype=np.int64)
    in_test = np.array([layout.images[row].in_test for row in good], dtype=bool)
    if layout.has_test:
        _check_counts(layout.class_names, labels[~in_test], MIN_TRAIN, "in train")
        _check_counts(layout.class_names, labels[in_test], 1, "in test")
        return good[~in_test], good[in_test]
    _check_counts(layout.class_names, labels, MIN_TRAIN + 1, "to share among train and test")
    kept, held = stratified_holdout(labels, fraction=TEST_FRACTION, seed=seed)
    return good[kept], good[held]


def _check_counts(
    class_names: Sequence[str], labels: NDArray[np.int64], least: int, where: str
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if empty := [name for name, count in zip(class_names, counts, strict=True) if count == 0]:
        raise DatasetError(
            f"Classes with no readable image {where}: {name_list(empty)}.",
            "Replace their damaged images, or remove these classes.",
        )
    if few := [name for name, count in zip(class_names, counts, strict=True) if count < least]:
        raise DatasetError(
            f"Classes with fewer than {least} readable images {where}: {name_list(few)}.",
            "Add images to these classes, or remove them.",
        )


def _report(layout: Layout, reasons: Mapping[int, str], train: int, test: int) -> ImportReport:
    files = tuple(
        SkippedFile(printable("/".join(layout.images[row].member.path)), printable(reasons[row]))
        for row in sorted(reasons)[:NAMED]
    )
    remarks = []
    if not layout.has_test:
        remarks.append(
            "The archive has no train and test folders: a fifth of each class is the test part."
        )
    if reasons:
        remarks.append(f"Images skipped because they could not be read: {len(reasons):,}.")
    if layout.ignored:
        remarks.append(f"Files left out because they are no images of a class: {layout.ignored:,}.")
    return ImportReport(
        class_names=layout.class_names,
        train_images=train,
        test_images=test,
        split_made=not layout.has_test,
        skipped=len(reasons),
        skipped_files=files,
        ignored=layout.ignored,
        remarks=tuple(remarks),
    )


def _notes(report: ImportReport) -> dict[str, Any]:
    known = ("class_names", "train_images", "test_images")  # told by the dataset's own page
    return {name: value for name, value in asdict(report).items() if name not in known}
