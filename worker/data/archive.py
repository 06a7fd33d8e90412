"""Import of an archive, whatever its layout."""

import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefile import Remark, UnreadableImageError
from worker.data.classes import Order
from worker.data.colour_order import doubts_of_pictures
from worker.data.containers import Source, Unpack, open_containers
from worker.data.errors import DatasetError
from worker.data.folders import class_folders
from worker.data.images import Decoded, decode_picture, fitted
from worker.data.layout import Layout, contents_of, find_layout, unread_files
from worker.data.members import MOST_BYTES, Listing, open_archive
from worker.data.names import Encoding, name_list, printable
from worker.data.sharing import Parts, share_out
from worker.data.store_format import Progress, remove_partial, write_dataset
from worker.data.weaknesses import Images, Weakness, weaknesses
from worker.data.webdataset import webdataset

IMAGE_SIZES = (32, 64, 96, 128, 224)
NAMED = 20  # skipped files that a report names
REPORT_EVERY = 100  # images between two calls of `progress`
_EXAMPLE_CLASSES, _EXAMPLES, _EXAMPLE_SIDE = 20, 6, 64
_READERS = (webdataset, class_folders)
_OF_DEPTH = {8: Remark.DEPTH_8, 12: Remark.DEPTH_12}


@dataclass(frozen=True)
class Wishes:
    """What somebody wants of an import.

    Attributes:
        image_size: side in pixels; images are centre-cropped and resized to it.
        seed: of the split, where the archive has no test part.
        order: how classes are sorted.
        classes: the classes in their order, instead.
        encoding: of names in a zip that does not say it.
        most_bytes: that the archive may unpack to, and that all pixels may take.
    """

    image_size: int
    seed: int = 0
    order: Order = "natural"
    classes: Sequence[str] | None = None
    encoding: Encoding = "auto"
    most_bytes: int = MOST_BYTES


@dataclass(frozen=True)
class SkippedFile:
    """An image that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What became of an archive.

    Attributes:
        layout: how it was laid out, in words.
        class_names: names by label.
        train_counts: images a class in the training part, validation images among them.
        held_counts: images a class in the validation part of the archive; empty without one.
        test_counts: images a class in the test part.
        skipped: images that could not be read.
        skipped_files: the first 20 of them.
        left_out: files that are not in the dataset, by the reason.
        notes: how the archive was understood, in sentences.
        warnings: what weakens the dataset.
        examples: (S, n S, 3) pixels side by side, of the first classes.
    """

    layout: str
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]
    held_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    skipped: int
    skipped_files: tuple[SkippedFile, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    warnings: tuple[Weakness, ...]
    examples: tuple[NDArray[np.uint8], ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What a dataset keeps of it, in values of JSON."""
        return {
            "layout": self.layout,
            "skipped": self.skipped,
            "skipped_files": [[f.name, f.reason] for f in self.skipped_files],
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
            "warnings": [[w.kind, w.text, w.count] for w in self.warnings],
        }


def import_archive(
    archive_path: Path,
    folder: Path,
    *,
    wishes: Wishes,
    label: str,
    source: str,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
    unpack: Unpack | None = None,
    make_room: Callable[[int], None] = lambda _: None,
    keep: bool = True,
) -> ImportReport:
    """Import a .zip, .tar, .tar.gz or .tar.xz, or a file of a dataset, as a dataset.

    Pictures are never unpacked to disk. Those that cannot be read are skipped and reported. The
    report is kept in the dataset's notes too.

    Args:
        folder: the dataset to write; does not exist yet, and does not afterwards if this raises.
        label: name to show beside figures measured on the dataset.
        source: where the images come from, such as the uploaded file's name.
        progress: called with images done and images in all; what it raises ends the import.
        check: called again and again meanwhile; what it raises ends the import, too.
        unpack: reads files that hold many images; without it they are refused.
        make_room: called with the bytes that all pixels take, before they are decoded.
        keep: without it nothing is written, and the report is all there is.

    Raises:
        DatasetError: the archive cannot be used; says why and what to do.
        FileExistsError: `folder` exists.
        ValueError: the image size is none of `IMAGE_SIZES`.
    """
    if wishes.image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size must be one of {IMAGE_SIZES}, got {wishes.image_size}")
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_partial(folder)
    with (
        _understood(archive_path, source, wishes, folder.parent, unpack) as (layout, read),
        # A file without a name: it is gone when this process is, however it ends.
        tempfile.TemporaryFile(dir=folder.parent) as scratch,
    ):
        size = wishes.image_size
        _check_room(len(layout.samples), wishes)
        shape = (len(layout.samples), size, size, 3)
        make_room(math.prod(shape))
        _reserve(scratch.fileno(), math.prod(shape))
        pixels = np.memmap(scratch, dtype=np.uint8, mode="w+", shape=shape)
        gathered = _decode_all(read, layout, pixels, progress)
        parts = _choose_parts(layout, gathered, wishes.seed)
        report = _report(layout, gathered, parts, pixels, check)
        if keep:
            labels = np.array(layout.labels, dtype=np.int64)
            write_dataset(
                folder,
                class_names=layout.class_names,
                train_images=pixels[parts.train],
                train_labels=labels[parts.train],
                train_held=parts.held,
                test_images=pixels[parts.test],
                test_labels=labels[parts.test],
                label=label,
                source=source,
                notes=report.facts,
            )
    return report


@contextmanager
def _understood(
    path: Path, name: str, wishes: Wishes, scratch: Path, unpack: Unpack | None
) -> Iterator[tuple[Layout, Source]]:
    """What is in an archive, and a way to its pictures."""
    archive = open_archive(path, name=name, encoding=wishes.encoding, most_bytes=wishes.most_bytes)
    listing = archive.members()
    contents = contents_of(listing, archive.read)
    check_room = partial(_check_room, wishes=wishes)
    with open_containers(archive, contents, scratch, unpack, check_room) as opened:
        if opened is not None:
            found, read = opened
            with _with_reasons(listing.left_out):
                layout = find_layout(
                    contents, [lambda _: found], order=wishes.order, given=wishes.classes
                )
            yield _with_names(layout, listing), read
            return
    with _with_reasons(listing.left_out + unread_files(contents)):
        layout = find_layout(contents, _READERS, order=wishes.order, given=wishes.classes)
    warnings = (*layout.warnings, *doubts_of_pictures(contents))
    yield _with_names(replace(layout, warnings=warnings), listing), archive.read


def _with_names(layout: Layout, listing: Listing) -> Layout:
    """With what the archive itself left out, and whether its names are a guess."""
    warnings = list(layout.warnings)
    if listing.guessed:
        text = (
            f"Names in the archive are not in UTF-8 and do not say what they are in; they were "
            f"read as cp437: {name_list(listing.guessed)}. Choose the encoding if they look wrong."
        )
        warnings.append(Weakness("names_guessed", text, len(listing.guessed)))
    left_out = Counter(layout.left_out) + listing.left_out
    return replace(layout, left_out=left_out, warnings=tuple(warnings))


def _reserve(file: int, size: int) -> None:
    """Take the room now: where a disk is full, writing to mapped memory ends the process.

    Raises OSError.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)


def _check_room(images: int, wishes: Wishes) -> None:
    needed = images * wishes.image_size**2 * 3
    if needed > wishes.most_bytes:
        raise DatasetError(
            f"{images:,} images of {wishes.image_size} pixels a side take "
            f"{-(-needed // 2**20):,} MB, more than the {wishes.most_bytes // 2**20:,} MB of a "
            "dataset.",
            "Choose a smaller image size, or raise LAB_MAX_DATASET_MB.",
        )


# Pictures


@dataclass
class _Gathered:
    """What was found while decoding, by row."""

    reasons: dict[int, str]
    kinds: dict[int, str]
    depths: dict[int, int]
    remarks: Counter[str]
    enlarged: int = 0


def _decode_all(
    read: Source, layout: Layout, pixels: NDArray[np.uint8], progress: Progress
) -> _Gathered:
    """Decode every image into its row of `pixels`.

    Pictures of 16 bits a channel use as many of them as the one that uses most: a dark one of a
    scanner of 12 bits is dark, and not of 8.
    """
    gathered = _Gathered({}, {}, {}, Counter())
    progress(0, len(pixels))
    rows = {sample.ordinal: row for row, sample in enumerate(layout.samples)}
    for done, (row, data) in enumerate(read(rows), start=1):
        _decode(gathered, data, row, pixels, None)
        if done % REPORT_EVERY == 0 or done == len(pixels):
            progress(done, len(pixels))
    deepest = max(gathered.depths.values(), default=0)
    shallow = {
        layout.samples[row].ordinal: row
        for row, depth in gathered.depths.items()
        if depth < deepest
    }
    if shallow:
        for row, data in read(shallow):
            _decode(gathered, data, row, pixels, deepest)
    if deepest in _OF_DEPTH:
        gathered.remarks[_OF_DEPTH[deepest]] = len(gathered.depths)
    return gathered


def _decode(
    gathered: _Gathered,
    data: bytes | NDArray[np.uint8] | str,
    row: int,
    pixels: NDArray[np.uint8],
    depth: int | None,
) -> None:
    size = pixels.shape[1]
    try:
        if isinstance(data, str):
            raise UnreadableImageError(data)
        if isinstance(data, bytes):
            decoded = decode_picture(data, image_size=size, depth=depth)
        elif data.shape[:2] == (size, size):
            decoded = Decoded(data, False, None, ())
        else:
            small = min(data.shape[:2]) < size
            decoded = Decoded(np.asarray(fitted(Image.fromarray(data), size)), small, None, ())
    except UnreadableImageError as error:
        gathered.reasons[row], gathered.kinds[row] = str(error), error.kind
        return
    pixels[row] = decoded.pixels
    if depth is not None:
        return  # counted before
    gathered.enlarged += decoded.enlarged
    # Which depth is taken is known at the end alone.
    gathered.remarks.update(r for r in decoded.remarks if r not in _OF_DEPTH.values())
    if decoded.depth is not None:
        gathered.depths[row] = decoded.depth


# Parts


def _choose_parts(layout: Layout, gathered: _Gathered, seed: int) -> Parts:
    """Rows of the training and of the test part, without the failed ones."""
    good = np.array([r for r in range(len(layout.samples)) if r not in gathered.reasons], np.int64)
    with _with_reasons(_reasons(gathered) + Counter(layout.left_out)):
        return share_out(layout, good, seed)


# The report


def _reasons(gathered: _Gathered) -> Counter[str]:
    return Counter(f"pictures that are {kind}" for kind in gathered.kinds.values())


@contextmanager
def _with_reasons(left_out: Mapping[str, int]) -> Iterator[None]:
    """Say with what is refused meanwhile what was left out before: that may be why."""
    try:
        yield
    except DatasetError as error:
        if not left_out:
            raise
        counted = ", ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
        raise DatasetError(f"{error.detail} Left out: {counted}.", error.hint) from None


def _report(
    layout: Layout,
    gathered: _Gathered,
    parts: Parts,
    pixels: NDArray[np.uint8],
    check: Callable[[], None],
) -> ImportReport:
    labels, classes = np.array(layout.labels, dtype=np.int64), len(layout.class_names)
    train, test = parts.train, parts.test
    held = train[parts.held] if parts.held is not None else train[:0]
    counts = [
        tuple(np.bincount(labels[rows], minlength=classes).tolist()) for rows in (train, held, test)
    ]
    files = tuple(
        SkippedFile(printable(layout.samples[row].name), printable(gathered.reasons[row]))
        for row in sorted(gathered.reasons)[:NAMED]
    )
    remarks = tuple(f"Pictures {said}: {count:,}." for said, count in gathered.remarks.items())
    found = [*layout.warnings, *parts.warnings]
    if gathered.enlarged:
        text = f"Pictures smaller than {pixels.shape[1]} pixels, enlarged: {gathered.enlarged:,}."
        found.append(Weakness("enlarged", text, gathered.enlarged))
    found += weaknesses(
        layout.class_names,
        Images(pixels, train, labels[train]),
        Images(pixels, test, labels[test]),
        check,
    )
    return ImportReport(
        layout=layout.kind,
        class_names=layout.class_names,
        train_counts=counts[0],
        held_counts=counts[1] if len(held) else (),
        test_counts=counts[2],
        skipped=len(gathered.reasons),
        skipped_files=files,
        left_out=_reasons(gathered) + Counter(layout.left_out),
        notes=(*layout.notes, *parts.notes, *remarks),
        warnings=tuple(found),
        examples=tuple(_examples(labels, np.concatenate([test, train]), pixels, classes)),
    )


def _examples(
    labels: NDArray[np.int64], rows: NDArray[np.int64], pixels: NDArray[np.uint8], classes: int
) -> Iterator[NDArray[np.uint8]]:
    side = min(pixels.shape[1], _EXAMPLE_SIDE)
    for label in range(min(classes, _EXAMPLE_CLASSES)):
        few = rows[labels[rows] == label][:_EXAMPLES]
        yield np.concatenate(
            [np.asarray(fitted(Image.fromarray(pixels[row]), side)) for row in few], axis=1
        )
