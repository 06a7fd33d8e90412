"""A dataset on disk: a folder of plain arrays and one JSON page about them.

    train_images.npy  (N, H, W, 3) uint8      train_labels.npy  (N,) int64
    test_images.npy   (M, H, W, 3) uint8      test_labels.npy   (M,) int64
    train_masks.npy   (N, H, W) bool          test_masks.npy    (M, H, W) bool   (optional)
    train_held.npy    (N,) bool: the validation images among the training images   (optional)
    dataset.json      class names, image size, counts, checksum, mean and standard deviation, origin

A folder is written under another name, synced and renamed, so that one that exists is whole.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from worker.data.errors import DatasetError
from worker.data.splits import Split, stratified_holdout

FORMAT = 1
VALIDATION_FRACTION = 0.1
VALIDATION_SEED = 20210806
_BLOCK = 4096  # images worked on at a time, to keep memory small

SplitName = Literal["train", "validation", "test"]
Progress = Callable[[int, int], None]  # steps done, steps in all
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says.

    Attributes:
        class_names: names by label.
        image_size: height and width in pixels.
        train_counts: images a class in the training part (the validation images among them).
        test_counts: images a class in the test part.
        checksum: SHA-256 of arrays and class names, in hexadecimal.
        mean: mean of red, green and blue over the training part, in [0, 1]; over the test part
            where there is nothing to train on.
        std: standard deviation of red, green and blue, over the same.
        label: name to show beside figures measured on it.
        source: where the images come from.
        notes: facts about the import, such as images skipped; JSON values.
    """

    class_names: tuple[str, ...]
    image_size: int
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    checksum: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    label: str
    source: str
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A dataset in its folder, arrays memory-mapped and read-only."""

    folder: Path
    info: DatasetInfo
    arrays: Arrays

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.info.class_names

    @property
    def num_classes(self) -> int:
        return len(self.info.class_names)

    @property
    def image_size(self) -> int:
        return self.info.image_size

    @property
    def mean(self) -> tuple[float, float, float]:
        return self.info.mean

    @property
    def std(self) -> tuple[float, float, float]:
        return self.info.std

    @property
    def checksum(self) -> str:
        return self.info.checksum

    def split(self, name: SplitName, *, seed: int = VALIDATION_SEED) -> Split:
        """The part called `name`.

        `validation` is what the dataset came with, else a tenth of the training images, held out
        class by class; `train` is the rest. The two need the same `seed`. `test` has nothing to do
        with either.

        Raises:
            ValueError: there is no part of that name.
        """
        if name not in ("train", "validation", "test"):
            raise ValueError(f"expected train, validation or test, got {name!r}")
        stored = "test" if name == "test" else "train"
        labels = self.arrays[f"{stored}_labels"]
        if name == "test":
            indices = np.arange(len(labels))
        elif "train_held" in self.arrays:
            indices = np.flatnonzero(self.arrays["train_held"] == (name == "validation"))
        else:
            kept, held = stratified_holdout(labels, fraction=VALIDATION_FRACTION, seed=seed)
            indices = kept if name == "train" else held
        images, masks = self.arrays[f"{stored}_images"], self.arrays.get(f"{stored}_masks")
        return Split(name, images, labels, masks, indices)


def write_dataset(
    folder: Path,
    *,
    class_names: Sequence[str],
    train_images: NDArray[np.uint8],
    train_labels: NDArray[np.int64],
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.int64],
    train_held: NDArray[np.bool_] | None = None,
    train_masks: NDArray[np.bool_] | None = None,
    test_masks: NDArray[np.bool_] | None = None,
    label: str,
    source: str,
    notes: Mapping[str, Any],
) -> Dataset:
    """Write a dataset so that `folder` appears whole or not at all, and load it.

    Args:
        folder: does not exist yet; its parent may not exist either.
        train_images, test_images: (N, H, W, 3) uint8, H = W.
        train_labels, test_labels: (N,) int64 in 0..len(class_names)-1, every class in both; no
            training image at all makes a dataset for evaluation.
        train_held: (N,) bool, the validation images among the training images; None where they are
            to be drawn.
        train_masks, test_masks: (N, H, W) bool, True on the object; both or neither.
        label, source, notes: see `DatasetInfo`.

    Raises:
        FileExistsError: `folder` exists.
        ValueError: arrays and class names do not fit together.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    arrays: Arrays = {
        "train_images": train_images,
        "train_labels": train_labels,
        "test_images": test_images,
        "test_labels": test_labels,
    }
    if train_masks is not None and test_masks is not None:
        arrays |= {"train_masks": train_masks, "test_masks": test_masks}
    elif train_masks is not None or test_masks is not None:
        raise ValueError("masks are given for one part only")
    if train_held is not None:
        arrays["train_held"] = train_held
    _check(arrays, len(class_names))
    mean, std = _channel_statistics(train_images if len(train_images) else test_images)
    info = DatasetInfo(
        class_names=tuple(class_names),
        image_size=test_images.shape[1],
        train_counts=tuple(np.bincount(train_labels, minlength=len(class_names)).tolist()),
        test_counts=tuple(np.bincount(test_labels, minlength=len(class_names)).tolist()),
        checksum=checksum(arrays, class_names),
        mean=mean,
        std=std,
        label=label,
        source=source,
        notes=notes,
    )
    _write_folder(folder, arrays, info)
    return load_dataset(folder)


def load_dataset(folder: Path) -> Dataset:
    """Load the dataset in `folder`, its arrays memory-mapped.

    Raises:
        DatasetError: the folder is missing, incomplete or damaged.
    """
    try:
        page: dict[str, Any] = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        if page.pop("format") != FORMAT:
            raise ValueError("another format")
        names = page.pop("arrays")
        lists = ("class_names", "train_counts", "test_counts", "mean", "std")
        info = DatasetInfo(**page | {name: tuple(page[name]) for name in lists})
        arrays: Arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
        _check(arrays, len(info.class_names))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"The stored dataset {folder.name} is missing or damaged ({error}).",
            "Delete it and import it again.",
        ) from error
    return Dataset(folder, info, arrays)


def checksum(arrays: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> str:
    """SHA-256 in hexadecimal over class names and every array's name, type, shape and values."""
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for start in range(0, len(array), _BLOCK):
            digest.update(np.ascontiguousarray(array[start : start + _BLOCK]).data)
    return digest.hexdigest()


def remove_partial(folder: Path) -> None:
    """Remove what interrupted writes of `folder` left beside it."""
    for partial in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)


def partial_folder(folder: Path) -> Path:
    """A new, empty folder beside `folder`, to write in before the rename."""
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir(parents=True)
    return partial


def take_over(made: Path, folder: Path) -> None:
    """Move a dataset that was written in another folder of the disk."""
    made.rename(folder)
    _sync_folder(folder.parent)


def _check(arrays: Arrays, num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"a dataset has at least 2 classes, got {num_classes}")
    size = arrays["test_images"].shape[1]
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.shape != (len(labels), size, size, 3):
            raise ValueError(f"{part} images are {images.dtype} {images.shape}")
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise ValueError(f"{part} labels are {labels.dtype} {labels.shape}")
        empty = part == "train" and not len(labels)
        if not empty and not np.array_equal(np.unique(labels), np.arange(num_classes)):
            raise ValueError(f"{part} labels are not every class of 0..{num_classes - 1}")
        masks = arrays.get(f"{part}_masks")
        if masks is not None and (masks.dtype != np.bool_ or masks.shape != images.shape[:3]):
            raise ValueError(f"{part} masks are {masks.dtype} {masks.shape}")
    held = arrays.get("train_held")
    if held is not None and (held.dtype != np.bool_ or held.shape != arrays["train_labels"].shape):
        raise ValueError(f"held training images are {held.dtype} {held.shape}")


def _channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation by channel in [0, 1], from exact counts of the 256 values."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        for channel in range(3):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    (m0, m1, m2), (s0, s1, s2) = mean.tolist(), std.tolist()
    return (m0, m1, m2), (s0, s1, s2)


def _write_folder(folder: Path, arrays: Arrays, info: DatasetInfo) -> None:
    partial = partial_folder(folder)
    try:
        for name, array in arrays.items():
            with (partial / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        page = {"format": FORMAT, "arrays": sorted(arrays), **asdict(info)}
        with (partial / "dataset.json").open("w", encoding="utf-8") as text:
            json.dump(page, text, indent=1, allow_nan=False)
            text.flush()
            os.fsync(text.fileno())
        _sync_folder(partial)
        partial.rename(folder)
        _sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
