"""Tables with a picture a row, as Kaggle has MNIST (`label,pixel0,pixel1,…`) and FER-2013
(`emotion,pixels,Usage`)."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from worker.data.containers import PARTS
from worker.data.one_dataset import check_one_dataset
from worker.data.roles import named_part
from worker.jobs.unpacking.found import TEST, VALIDATION, Files, Refused, Unpacked

_LABELS = ("label", "labels", "class", "target", "y", "emotion")
_USAGE = {"publictest": VALIDATION, "privatetest": TEST}
"""Of FER-2013's own words; others say their part."""
_SMALLEST = 8 * 8
_NEARLY_ALL = 0.9
_RENAMED = re.compile(r"\d+\.\d*[1-9]")
"""What pandas makes of numbers that come again in a head: 0, 0.1, 0.2 were pixels of a picture."""
_HEAD_OF_NUMBERS = "pictures that became the names of columns"
_TO_PREDICT = "rows to predict, without labels"
_ADVICE = "Save a label and the pixels of one grey picture a row, whole numbers from 0 to 255."


class _Rows(NamedTuple):
    pixels: Any
    """(N, S, S) of bytes"""
    labels: Any
    parts: list[int]


def pixel_tables(files: Files) -> Unpacked:
    """Every table that has pictures; others are left out, counted."""
    import numpy as np

    taken, bare, left, notes = list[_Rows](), list[_Bare](), Counter[str](), list[str]()
    names = list[str]()
    for name, part, path in sorted(files):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            first = next(csv.reader(stream), [])
        head = [cell.strip().casefold() for cell in first]
        if "pixels" in head:
            taken.append(_written_out(name, path, head, part))
            names.append(name)
        elif (column := _label_column(head)) is not None:
            taken.append(_Bare(name, part, _numbers(name, path, skip=1)).rows(column))
            names.append(name)
            notes.append(f"Labels of {name} are those of column {column + 1}.")
        elif _side(len(head) - 1) is not None and all(map(_is_number, head)):
            renamed = any(map(_RENAMED.fullmatch, head))
            bare.append(_Bare(name, part, _numbers(name, path, skip=int(renamed))))
            left[_HEAD_OF_NUMBERS] += renamed
        elif _side(len(head)) is not None:
            with path.open("rb") as lines:
                left[_TO_PREDICT] += sum(1 for _ in lines) - (not _is_number(head[0]))
        else:
            left["tables without pixels"] += 1
    if bare:
        column, end = (0, "first") if _labels_are_first(bare) else (-1, "last")
        taken += [table.rows(column) for table in bare]
        notes += [f"Labels of {table.name} are those of its {end} column." for table in bare]
    names += [table.name for table in bare]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise Refused(f"Several tables are called {twice[0]}.", "Pack those of one dataset.")
    check_one_dataset((((), name.removesuffix(".csv")) for name in names), "tables")
    if not taken:
        raise Refused("The tables hold no pictures that the lab finds, with labels.", _ADVICE)
    if len({rows.pixels.shape[1:] for rows in taken}) > 1:
        raise Refused("The tables hold pictures of several sizes.", "Pack those of one size.")
    pixels = np.concatenate([rows.pixels for rows in taken])
    labels = np.concatenate([rows.labels for rows in taken])
    parts = [part for rows in taken for part in rows.parts]
    found = Unpacked("tables of pixels", labels, parts, None, np.repeat(pixels[..., None], 3, -1))
    found.left_out, found.notes = dict(+left), notes
    return found


def _label_column(head: list[str]) -> int | None:
    """Where a table of a pixel a column has its labels, by its name."""
    named = [column for column, name in enumerate(head) if name in _LABELS]
    return named[0] if _side(len(head) - 1) is not None and len(named) == 1 else None


def _side(pixels: int) -> int | None:
    side = math.isqrt(max(0, pixels))
    return side if side * side == pixels >= _SMALLEST else None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


class _Bare(NamedTuple):
    """A table of a pixel a column, and of a label."""

    name: str
    part: int
    numbers: Any
    """(N, S S + 1)"""

    def rows(self, column: int) -> _Rows:
        """With the labels of a column."""
        import numpy as np

        labels, width = self.numbers[:, column].astype(np.int64), self.numbers.shape[1]
        if column in (0, -1):
            pixels = self.numbers[:, 1:] if column == 0 else self.numbers[:, :-1]  # no copy
        else:
            pixels = np.delete(self.numbers, column, axis=1)
        return _Rows(_bytes(self.name, pixels, _side(width - 1)), labels, [self.part] * len(labels))


def _labels_are_first(tables: list[_Bare]) -> bool:
    """Whether the first column of tables without names has the labels, or the last; by what both
    hold. Raises Refused where either could, or neither."""
    first, last = (_may_be_labels(tables, column) for column in (0, -1))
    if first == last:
        said = "either the first or the last column" if first else "neither the first nor the last"
        raise Refused(
            f"{tables[0].name} has no names of columns, and {said} looks like labels.",
            "Write a first line with names: label, pixel0, pixel1, …",
        )
    return first


def _may_be_labels(tables: list[_Bare], column: int) -> bool:
    """Whether a column holds classes: numbers without a gap from 0 or 1 on, many rows of each, and
    none that nearly all rows have, as pixels at an edge do."""
    import numpy as np

    values, counts = np.unique(
        np.concatenate([table.numbers[:, column] for table in tables]), return_counts=True
    )
    whole = values[0] in (0, 1) and values[-1] - values[0] + 1 == len(values)
    return bool(
        whole and 2 <= len(values) <= counts.sum() / 2 and counts.max() < _NEARLY_ALL * counts.sum()
    )


def _numbers(name: str, path: Path, *, skip: int) -> Any:
    import numpy as np

    try:
        return np.loadtxt(
            path, delimiter=",", dtype=np.int16, skiprows=skip, ndmin=2, encoding="utf-8-sig"
        )
    except ValueError as error:
        raise Refused(
            f"{name} has what is no whole number ({str(error)[:100]}).", _ADVICE
        ) from None


def _written_out(name: str, path: Path, head: list[str], part: int) -> _Rows:
    """Of a table with all pixels of a picture in one cell."""
    import numpy as np

    column = next((c for c, said in enumerate(head) if said in _LABELS), None)
    if column is None:
        raise Refused(f"{name} has pixels, and no column of labels.", _ADVICE)
    written = head.index("pixels")
    usage = head.index("usage") if "usage" in head else None
    labels, pictures, parts = [], [], []
    csv.field_size_limit(2**24)
    for row in _body(path):
        try:
            labels.append(int(row[column]))
            pictures.append(np.array(row[written].split(), dtype=np.int32))
        except (ValueError, IndexError):
            raise Refused(f"Row {len(labels):,} of {name} holds no picture.", _ADVICE) from None
        parts.append(part if usage is None else _part(row[usage], part))
    if not pictures or len({len(picture) for picture in pictures}) > 1:
        raise Refused(f"{name} holds pictures of several sizes, or none.", _ADVICE)
    stacked = np.stack(pictures)
    return _Rows(_bytes(name, stacked, _side(stacked.shape[1])), np.array(labels), parts)


def _part(usage: str, otherwise: int) -> int:
    own = _USAGE.get(usage.strip().casefold())
    said = named_part(usage) if own is None else None
    return own or (otherwise if said is None else PARTS.index(said))


def _body(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        yield from itertools.islice(csv.reader(stream), 1, None)


def _bytes(name: str, pixels: Any, side: int | None) -> Any:
    """(N, S, S) of bytes."""
    import numpy as np

    if side is None:
        raise Refused(f"The pictures of {name} are no squares of one grey.", _ADVICE)
    if not len(pixels) or pixels.min() < 0 or pixels.max() > 255:
        raise Refused(f"{name} has pixels that are not from 0 to 255.", _ADVICE)
    return pixels.astype(np.uint8).reshape(-1, side, side)
