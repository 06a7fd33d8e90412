"""Arrays of images and of labels, as NumPy saves them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from worker.data.containers import PARTS
from worker.data.names import name_list
from worker.data.one_dataset import check_one_dataset
from worker.data.roles import Part, part_of
from worker.jobs.unpacking.beside_arrays import (
    Parts,
    bgr_by,
    check_texts,
    is_column,
    named,
    names_of_classes,
    parts_of,
    rows_part,
    texts_of,
    words_of,
)
from worker.jobs.unpacking.found import TEST, TRAIN, VALIDATION, Files, Refused, Unpacked

_IMAGES = {"x", "image", "images", "data", "img", "imgs"}
_LABELS = {"y", "label", "labels", "target", "targets"}
_ORDERS = {"bgr", "rgb"}
"""Of colours; they are no part of what an array is called."""
_SAID = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
_NAMES = "Name them x_train, y_train, x_test, y_test, or train_images, train_labels and so on."


class _Pair(NamedTuple):
    images: str
    labels: str
    part: int | None
    """By the names; None where they say none."""


def npz(files: Files) -> Unpacked:
    """A file of arrays, named as Keras (`x_train`, `y_train`) or MedMNIST (`train_images`) does."""
    pages = [(name, part, _arrays(name, path)) for name, part, path in files]
    if len(pages) > 1 and all(len(page) == 1 for *_, page in pages):  # as KMNIST is published
        return _a_file_each((name, part, *page.values()) for name, part, page in pages)
    if len(pages) > 1:
        raise Refused("The archive holds several .npz files.", "Upload one of them.")
    name, part, page = pages[0]
    return _unpacked(page, dict.fromkeys(page, part), [name])


def npy(files: Files) -> Unpacked:
    """A file an array, as CIFAR-10.1 (Recht et al., 2018) and CIFAR-10-C (Hendrycks and Dietterich,
    2019) are published: `cifar10.1_v6_data.npy`, `cifar10.1_v6_labels.npy`.
    """
    return _a_file_each((name, part, *_arrays(name, path).values()) for name, part, path in files)


def _arrays(name: str, path: Path) -> dict[str, Any]:
    """Those of a file by their names; of one without names under its own. Raises Refused."""
    import numpy as np

    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            _check_plain(name, file)
            return {name: np.load(path, allow_pickle=False)}
    with np.load(path, allow_pickle=False) as page:
        for array in page.files:
            with page.zip.open(f"{array}.npy") as member:
                _check_plain(array, member)
        return {array: page[array] for array in page.files}


def _check_plain(name: str, file: IO[bytes]) -> None:
    """Raises Refused where an array holds objects of Python, whose reading may run code."""
    from numpy.lib import format as npy

    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    read = header.get(npy.read_magic(file))
    if read is not None and read(file)[2].hasobject:
        raise Refused(
            f"{name.removesuffix('.npy')} holds objects of Python; reading them may run code, "
            "which the lab never does.",
            "Save numbers of one shape, and texts as `np.array(names, dtype=str)`.",
        )


def _a_file_each(files: Iterable[tuple[str, int, Any]]) -> Unpacked:
    """Arrays that are called as their files are."""
    arrays = {}
    for name, part, array in files:
        called = name.rpartition(".")[0]
        if part and _part(words_of(called)) is None:  # by its folder
            called = f"{_SAID[part]} {called}"
        if called in arrays:
            raise Refused(f"Several files are called {name}.", _NAMES)
        arrays[called] = array
    return _unpacked(arrays, dict.fromkeys(arrays, 0))


def _unpacked(
    arrays: Mapping[str, Any], by_file: Mapping[str, int], called: Collection[str] = ()
) -> Unpacked:
    """`by_file`: the part of each array, by its file. `called`: what the file is called that holds
    them all."""
    import numpy as np

    most = max((len(array) for array in arrays.values() if array.ndim > 2), default=0)
    lists = names_of_classes(arrays, most)
    pairs = _pairs({name: array for name, array in arrays.items() if name not in lists})
    check_one_dataset((((pair.images,), "") for pair in pairs), "arrays")
    pixels, labels, parts, notes, turned = [], [], [], [], None
    for pair in pairs:
        x, y = _coloured(arrays[pair.images], pair.images), _flat(arrays[pair.labels], pair.labels)
        if len(x) != len(y):
            raise Refused(
                f"{pair.images} holds {len(x):,} images, {pair.labels} {len(y):,} labels.",
                "Save a label for each image.",
            )
        if said := bgr_by(pair.images, called, arrays):
            x, turned = x[..., ::-1], True
            notes.append(f"{pair.images} is turned from blue, green, red, as “{said}” says.")
        elif x.strides[-1]:  # of more than one grey
            turned = turned or False
        pixels.append(x)
        labels.append(y)
        parts += [by_file[pair.images] if pair.part is None else pair.part] * len(y)
    if len({x.shape[1:] for x in pixels}) > 1:
        sizes = ", ".join(f"{x.shape[1]} × {x.shape[2]}" for x in pixels)
        raise Refused(f"The images are of several sizes: {sizes}.", "Save them in one.")
    if len({y.dtype.kind for y in labels}) > 1:
        raise Refused("Some labels are numbers, and others texts.", "Save them alike.")
    numbers, classes, listing = named(np.concatenate(labels), lists)
    if listing:
        notes.append(f"Classes are named by the array {listing}.")
    elif numbers.dtype.kind == "U":
        texts, numbers = np.unique(numbers, return_inverse=True)
        classes = [str(text) for text in texts]
    found = Unpacked(
        "arrays of numpy", numbers, parts, classes, np.concatenate(pixels),
        ordered=bool(listing) or labels[0].dtype.kind != "U",
        turned=turned, notes=notes,
    )  # fmt: skip
    taken = {name for pair in pairs for name in (pair.images, pair.labels)} | {listing}
    _take_parts(found, {name: array for name, array in arrays.items() if name not in taken})
    return found


def _take_parts(found: Unpacked, others: Mapping[str, Any]) -> None:
    """The parts that the other arrays say, where the names of images say none, and what of them is
    not used. Raises Refused."""
    import numpy as np

    own = np.array(found.parts, dtype=np.uint8)
    if own.any():
        beside = [n for n, a in others.items() if rows_part(n, a) is not None or is_column(n, a)]
        said = Parts(names=beside)
        if beside:
            said.warnings.append(
                f"The names of the arrays say their parts; not used are {name_list(beside)}."
            )
    else:
        said = parts_of(others, len(own))
    found.warnings += said.warnings
    if said.of_row is not None:
        found.parts = said.of_row
        found.notes.append(f"Parts are those of {name_list(said.names)}.")
        if not (kept := said.of_row > 0).all():
            found.parts, found.labels, found.pixels = (
                of[kept] for of in (found.parts, found.labels, found.pixels)
            )
            found.left_out["images that the arrays give no part"] = int((~kept).sum())
    unused = [name for name in others if name not in said.names]
    if unused:
        found.left_out["arrays without their images or labels"] = len(unused)
        found.notes.append(f"Arrays that are not used: {name_list(unused)}.")


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
        parts = {_part(key), _part(words_of(pictures[0]))} - {None}
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
        words = words_of(name)
        if role.isdisjoint(words):
            continue
        rest = tuple(word for word in words if word not in role | _ORDERS)
        if rest in found:
            raise Refused(f"{found[rest]} and {name} may be the same.", "Keep one of them.")
        found[rest] = name
    return found


def _part(words: tuple[str, ...]) -> int | None:
    """That which the first word that says one says, as `PARTS` numbers them."""
    said = (part_of(word) for word in words)
    return next((PARTS.index(p) for p in said if p not in (None, Part.UNLABELLED)), None)


def _coloured(images: Any, name: str) -> Any:
    """(N, H, W, 3) of bytes."""
    import numpy as np

    if images.ndim not in (3, 4):
        raise Refused(
            f"{name} is of shape {images.shape}: that is no stack of pictures.",
            "Save images as (N, H, W, 3) or (N, H, W).",
        )
    if images.dtype != np.uint8:
        raise Refused(
            f"{name} is of {images.dtype}, {_values(images)}: what is white, nobody says.",
            "Save images as unsigned bytes: of 0 to 1 `(255 * x).round().astype('uint8')`, of −1 "
            "to 1 `(127.5 * (x + 1)).round().astype('uint8')`, of 0 to 255 `x.astype('uint8')`.",
        )
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[-1] not in (1, 3):
        raise Refused(
            f"{name} is of shape {images.shape}: neither its last axis nor its second has one or "
            "three channels.",
            "Save one or three; of opacity leave the fourth out, `x[..., :3]`.",
        )
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _values(images: Any) -> str:
    """Of numbers that are no bytes: from where to where they go."""
    import numpy as np

    if not images.size or images.dtype.kind not in "iuf":
        return "which are no grey levels"
    if not np.isfinite(images).all():
        return "with NaN or infinity among them"
    return f"from {images.min():.4g} to {images.max():.4g}"


def _flat(labels: Any, name: str) -> Any:
    """(N,) of int64, or of texts. Raises Refused."""
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "US" and labels.ndim == 1:
        texts = texts_of(labels)
        check_texts(texts, name)
        return np.array(texts)
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return labels.argmax(axis=1)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"{name} are no labels of one class each.", "Save one number an image.")
    return labels.astype(np.int64)
