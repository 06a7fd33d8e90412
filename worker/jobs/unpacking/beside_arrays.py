"""What arrays beside images and labels say of them: the names of classes, the parts, and the order
of colours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.data.containers import PARTS
from worker.data.names import name_list
from worker.data.roles import Part, part_of
from worker.data.row_parts import SPLITS, split_of
from worker.data.rows import NO_LABEL, plain_name
from worker.jobs.unpacking.found import TEST, TRAIN, VALIDATION, Refused

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_OF_CLASSES = {
    "class", "classes", "classname", "classnames", "label", "labels", "labelname", "labelnames",
    "target", "targets", "category", "categories", "names",
}  # fmt: skip
_OF_FILES = {"file", "files", "filename", "filenames", "path", "paths", "image", "images", "img"}
_INDICES = {
    "idx", "idxs", "index", "indexes", "indices", "ind", "inds", "id", "ids", "rows", "split",
}  # fmt: skip
_MASKS = {"mask", "masks", "is", "flag"}
_COLOURS = {
    "channel", "channels", "color", "colour", "colorspace", "colourspace", "order", "format",
}  # fmt: skip
_SAVE_PARTS = (
    "Save x_train, y_train, x_test and y_test, or one array split with train, val and test for "
    "each image."
)


def words_of(name: str) -> tuple[str, ...]:
    """The words of an array's name: `trainImages_2` has three."""
    return tuple(word.lower() for word in _WORD.findall(name))


# Names of classes


def names_of_classes(arrays: Mapping[str, Any], images: int) -> dict[str, list[str]]:
    """Those arrays of texts that may name the classes of so many images."""
    found = {}
    for name, array in arrays.items():
        words = set(words_of(name))
        if array.dtype.kind not in "US" or array.ndim != 1 or words & _OF_FILES:
            continue
        texts = texts_of(array)
        if words & _OF_CLASSES and 2 <= len(texts) < images and len({*texts}) == len(texts):
            found[name] = texts
    return found


def texts_of(array: Any) -> list[str]:
    """Texts, also where they are kept as bytes of UTF-8."""
    plain = array.ravel().tolist()
    return [(t.decode("utf-8", "replace") if isinstance(t, bytes) else t).strip() for t in plain]


def named(labels: Any, lists: Mapping[str, list[str]]) -> tuple[Any, list[str] | None, str]:
    """Labels from 0 on, the names of their classes, and the array that has these.

    Labels are numbers, or texts. Raises Refused where the names do not fit them, or where two
    arrays name them otherwise.
    """
    import numpy as np

    if not lists:
        return labels, None, ""
    fitting = {name: first for name, listed in lists.items()
               if (first := _first(labels, listed)) is not None}  # fmt: skip
    if not fitting:
        name, listed = next(iter(lists.items()))
        raise Refused(
            f"{name} names {len(listed):,} classes, which are not those of the labels: "
            f"{_range(labels)}.",
            "Save labels from 0 on, and a name for each class, in their order.",
        )
    if len({(*lists[name], str(first)) for name, first in fitting.items()}) > 1:
        raise Refused(
            f"Several arrays may name the classes: {name_list(sorted(fitting))}.",
            "Keep one of them.",
        )
    name, first = next(iter(fitting.items()))
    if labels.dtype.kind == "U":
        place = {text: number for number, text in enumerate(lists[name])}
        return np.array([place[text] for text in labels.tolist()]), lists[name], name
    return labels - first, lists[name], name


def _first(labels: Any, listed: list[str]) -> int | None:
    """The number of the first class in a list; None where it does not fit, or is not known."""
    if labels.dtype.kind == "U":
        return 0 if {*labels.tolist()} <= {*listed} else None
    least, most = int(labels.min()), int(labels.max())
    if least == 0 and most < len(listed):
        return 0
    return 1 if least == 1 and most == len(listed) else None


def _range(labels: Any) -> str:
    if labels.dtype.kind == "U":
        return name_list(sorted({*labels.tolist()}))
    return f"{labels.min()} to {labels.max()}"


def check_texts(labels: Iterable[str], name: str) -> None:
    """Raises Refused where a label says that there is none."""
    nothing = Counter(text for text in labels if text.casefold() in NO_LABEL)
    if nothing:
        raise Refused(
            f"{name} has {nothing.total():,} labels that are none, such as “{min(nothing)}”.",
            "Leave out images without a label.",
        )


# Parts


@dataclass
class Parts:
    """What arrays say of the parts of images."""

    of_row: Any = None
    """(N,) as `PARTS` numbers them, 0 for rows that no array names; None where none says any."""
    names: list[str] = field(default_factory=list)
    """The arrays that are about parts, whether they are used or not."""
    warnings: list[str] = field(default_factory=list)


def parts_of(arrays: Mapping[str, Any], count: int) -> Parts:
    """The parts of `count` images by arrays of row numbers (`train_idx`), of yes and no
    (`train_mask`), or of a part each (`split`).

    Raises Refused where they cannot be meant, or contradict one another.
    """
    import numpy as np

    found = Parts()
    ways: dict[str, Any] = {}
    by_rows = np.zeros(count, dtype=np.uint8)
    for name, array in arrays.items():
        if (part := rows_part(name, array)) is not None:
            rows = _rows(name, array, count)
            if (by_rows[rows] > 0).any():
                raise Refused(
                    f"{name} has images that another array of a part has, too.", _SAVE_PARTS
                )
            by_rows[rows] = part
            found.names.append(name)
    if found.names:
        ways[name_list(found.names)] = _completed(by_rows, found)
    for name, array in arrays.items():
        if is_column(name, array) and len(array) == count:
            found.names.append(name)
            of_row = _by_column(name, array, found)
            if of_row is not None:
                ways[name] = of_row
    first = next(iter(ways.values()), None)
    if any((other != first).any() for other in ways.values()):
        raise Refused(f"{' and '.join(ways)} say different parts.", "Keep one of them.")
    found.of_row = first
    return found


def rows_part(name: str, array: Any) -> int | None:
    """The part whose rows an array gives; None where it gives no rows."""
    if array.dtype.kind not in "iub" or array.ndim == 0 or array.ndim > 2:
        return None
    words = words_of(name)
    parts = [part for word in words if (part := part_of(word)) is not None]
    rest = {word for word in words if part_of(word) is None and not word.isdigit()}
    is_said = len(parts) == 1 and parts[0] is not Part.UNLABELLED
    return PARTS.index(parts[0]) if is_said and rest <= _INDICES | _MASKS else None


def is_column(name: str, array: Any) -> bool:
    """Whether an array is called like a part for each image."""
    called = plain_name(name) in SPLITS or bool({"split", "partition", "fold"} & {*words_of(name)})
    return called and array.ndim == 1 and rows_part(name, array) is None


def _rows(name: str, array: Any, count: int) -> Any:
    """Numbers of rows. Raises Refused."""
    import numpy as np

    if array.ndim == 2 and 1 in array.shape:
        array = array.ravel()
    yes_or_no = array.shape == (count,) and np.isin(array, (0, 1)).all()
    if array.dtype.kind == "b" or _MASKS & {*words_of(name)} or (yes_or_no and count > 2):
        if not yes_or_no:
            raise Refused(f"{name} is no yes or no for each of {count:,} images.", _SAVE_PARTS)
        return np.flatnonzero(array)
    if array.ndim > 1:
        raise Refused(f"{name} has several splits: its shape is {array.shape}.", _SAVE_PARTS)
    if len(array) and (array.min() < 0 or array.max() >= count):
        raise Refused(
            f"{name} says {array.min()} to {array.max()}: no rows of {count:,} images, which are "
            "numbered from 0.",
            _SAVE_PARTS,
        )
    if len(np.unique(array)) < len(array):
        raise Refused(f"{name} has an image twice.", _SAVE_PARTS)
    return array.astype(np.int64)


def _completed(of_row: Any, found: Parts) -> Any:
    """Rows that no array names are the test part, where none gives that, or training images."""
    import numpy as np

    given = {TRAIN, VALIDATION, TEST} & {*np.unique(of_row).tolist()}
    rest = int((of_row == 0).sum())
    if not rest or {TRAIN, TEST} <= given:
        return of_row
    missing = TEST if TRAIN in given else TRAIN
    found.warnings.append(
        f"{name_list(found.names)} leave {rest:,} images, which are taken as "
        f"{'test' if missing == TEST else 'training'} images."
    )
    return np.where(of_row == 0, missing, of_row)


def _by_column(name: str, array: Any, found: Parts) -> Any:
    """What a column of parts says; None where it says none, which is said."""
    import numpy as np

    values = texts_of(array) if array.dtype.kind in "US" else [str(v) for v in array.tolist()]
    plain = plain_name(name)
    head = plain if plain in SPLITS else "fold" if "fold" in words_of(name) else "split"
    split = split_of("the file", [head], [[value] for value in values], -1)
    if split is None or not any(split.of_row):
        said = name_list(sorted({*values}))
        found.warnings.append(f"{name} says {said}, which names no part: it is not used.")
        return None
    found.warnings += [doubt.text for doubt in split.doubts]
    return np.array([PARTS.index(part) for part in split.of_row], dtype=np.uint8)


# Colours


def bgr_by(name: str, called: Collection[str], arrays: Mapping[str, Any]) -> str:
    """What says that the images of array `name` are blue, green, red; empty where nothing does.

    `called`: what the file is called, and the folders that it lies in.
    Raises Refused where something else says red, green, blue.
    """
    said = {
        f"{key}: {text}": words_of(text)
        for key, array in arrays.items()
        if array.dtype.kind in "US" and array.size == 1 and _COLOURS & {*words_of(key)}
        for text in texts_of(array)
    }
    said |= {each: words_of(each) for each in (name, *called)}
    blue, red = (
        [where for where, words in said.items() if order in words] for order in ("bgr", "rgb")
    )
    if blue and red:
        raise Refused(
            f"The order of colours is said in two ways: {name_list(blue + red)}.", "Keep one."
        )
    return blue[0] if blue else ""
