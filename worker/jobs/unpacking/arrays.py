"""Arrays of images and of labels, as NumPy saves them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from worker.jobs.unpacking.found import TEST, TRAIN, VALIDATION, Files, Refused, Unpacked

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z](?![a-z])|\d+")
_IMAGES = {"x", "image", "images", "data", "img", "imgs"}
_LABELS = {"y", "label", "labels", "target", "targets"}
_PARTS = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION,
    "validation": VALIDATION, "dev": VALIDATION, "test": TEST, "testing": TEST, "eval": TEST,
    "evaluation": TEST, "holdout": TEST,
}  # fmt: skip
_SAID = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
_NAMES = "Name them x_train, y_train, x_test, y_test, or train_images, train_labels and so on."


class _Pair(NamedTuple):
    images: str
    labels: str
    part: int | None
    """By the names; None where they say none."""


def npz(files: Files) -> Unpacked:
    """A file of arrays, named as Keras (`x_train`, `y_train`) or MedMNIST (`train_images`) does."""
    import numpy as np

    pages = []
    for name, part, path in files:
        with np.load(path, allow_pickle=False) as page:
            pages.append((name, part, {array: page[array] for array in page.files}))
    if len(pages) > 1 and all(len(page) == 1 for *_, page in pages):  # as KMNIST is published
        return _a_file_each((name, part, *page.values()) for name, part, page in pages)
    if len(pages) > 1:
        raise Refused("The archive holds several .npz files.", "Upload one of them.")
    _, part, page = pages[0]
    return _unpacked(page, dict.fromkeys(page, part))


def npy(files: Files) -> Unpacked:
    """A file an array, as CIFAR-10.1 (Recht et al., 2018) and CIFAR-10-C (Hendrycks and Dietterich,
    2019) are published: `cifar10.1_v6_data.npy`, `cifar10.1_v6_labels.npy`.
    """
    import numpy as np

    return _a_file_each(
        (name, part, np.load(path, allow_pickle=False)) for name, part, path in files
    )


def _a_file_each(files: Iterable[tuple[str, int, Any]]) -> Unpacked:
    """Arrays that are called as their files are."""
    arrays = {}
    for name, part, array in files:
        called = name.rpartition(".")[0]
        if part and _part(_words(called)) is None:  # by its folder
            called = f"{_SAID[part]} {called}"
        if called in arrays:
            raise Refused(f"Several files are called {name}.", _NAMES)
        arrays[called] = array
    return _unpacked(arrays, dict.fromkeys(arrays, 0))


def _unpacked(arrays: Mapping[str, Any], part_of: Mapping[str, int]) -> Unpacked:
    import numpy as np

    pixels, labels, parts = [], [], []
    pairs = _pairs(arrays)
    for pair in pairs:
        x, y = _coloured(arrays[pair.images], pair.images), _flat(arrays[pair.labels], pair.labels)
        if len(x) != len(y):
            raise Refused(
                f"{pair.images} holds {len(x):,} images, {pair.labels} {len(y):,} labels.",
                "Save a label for each image.",
            )
        pixels.append(x)
        labels.append(y)
        parts += [part_of[pair.images] if pair.part is None else pair.part] * len(y)
    if len({x.shape[1:] for x in pixels}) > 1:
        sizes = ", ".join(f"{x.shape[1]} × {x.shape[2]}" for x in pixels)
        raise Refused(f"The images are of several sizes: {sizes}.", "Save them in one.")
    left = Counter({"arrays without their images or labels": len(arrays) - 2 * len(pairs)})
    return Unpacked(
        "arrays of numpy", np.concatenate(labels), parts, None, np.concatenate(pixels),
        left_out=dict(+left),
    )  # fmt: skip


def _pairs(arrays: Mapping[str, Any]) -> list[_Pair]:
    """Images and labels whose names differ in nothing else; or else the only ones there are.

    Raises Refused where there are none, or several that may be meant.
    """
    images, labels = _named(arrays, _IMAGES), _named(arrays, _LABELS)
    pairs = [_Pair(images[key], labels[key], _part(key)) for key in images if key in labels]
    if pairs:
        return pairs
    pictures = [name for name, array in arrays.items() if array.ndim > 2]
    if len(pictures) == len(labels) == 1:
        ((key, name),) = labels.items()
        parts = {_part(key), _part(_words(pictures[0]))} - {None}
        if len(parts) < 2:
            return [_Pair(pictures[0], name, *(parts or {None}))]
    if len(pictures) > 1 and len(labels) == 1:
        raise Refused(
            f"Several arrays of images may have the labels: {', '.join(sorted(pictures))[:200]}.",
            "Pack one of them with its labels.",
        )
    raise Refused(
        f"No images have labels under known names: {', '.join(sorted(arrays))[:200]}.", _NAMES
    )


def _named(arrays: Mapping[str, Any], role: set[str]) -> dict[tuple[str, ...], str]:
    """Arrays of a role by the rest of their names, in the order of the file."""
    found: dict[tuple[str, ...], str] = {}
    for name in arrays:
        words = _words(name)
        if role.isdisjoint(words):
            continue
        rest = tuple(word for word in words if word not in role)
        if rest in found:
            raise Refused(f"{found[rest]} and {name} may be the same.", "Keep one of them.")
        found[rest] = name
    return found


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def _part(words: tuple[str, ...]) -> int | None:
    return next((_PARTS[word] for word in words if word in _PARTS), None)


def _coloured(images: Any, name: str) -> Any:
    """(N, H, W, 3) of bytes."""
    import numpy as np

    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise Refused(
            f"{name} is of {images.dtype} and of shape {images.shape}: whose range is not known.",
            "Save images as (N, H, W, 3) or (N, H, W) of unsigned bytes.",
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[-1] not in (1, 3):
        raise Refused(f"{name} has {images.shape[-1]} channels.", "Save one or three.")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _flat(labels: Any, name: str) -> Any:
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"{name} are no labels of one class each.", "Save one number an image.")
    return labels.astype(np.int64)
