"""Labels of a table that may mean more than one class a picture: several at once, or boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from worker.data.errors import DatasetError
from worker.data.names import name_list, printable
from worker.data.rows import plain_name
from worker.data.weaknesses import Weakness

_CORNERS = ({"xmin", "ymin", "xmax", "ymax"}, {"x1", "y1", "x2", "y2"}, {"bbox"}, {"boxes"})
_BETWEEN = ("|", ";", ",", "/", None)
"""What stands between labels of one picture; None: spaces."""
_MOST_LABELS = 1000
"""That are looked at: each is compared with each."""
_SEVERAL = 0.05
"""Share of pictures with several rows, from which on a table of boxes is one of objects."""


def check_boxes(name: str, head: Sequence[str], pictures: Sequence[int | None]) -> None:
    """Raises DatasetError where a table has a row for each object, with its box. `pictures`: that
    of each row, by its ordinal."""
    columns = {plain_name(cell) for cell in head}
    if not any(corners <= columns for corners in _CORNERS):
        return
    rows = Counter(ordinal for ordinal in pictures if ordinal is not None)
    if sum(count > 1 for count in rows.values()) > _SEVERAL * len(rows):
        raise DatasetError(
            f"{name} says what lies in boxes, several of a picture: it is made to find objects.",
            "Cut the boxes out, and pack a folder of them for each class.",
        )


def combined(name: str, column: str, labels: Collection[str]) -> Weakness | None:
    """That labels look like several of one picture, where their pieces come again in others."""
    known = set(labels)
    if len(known) > _MOST_LABELS:
        return None
    for between in _BETWEEN:
        pieces = {label: frozenset(map(str.strip, label.split(between))) for label in known}
        often = Counter(piece for each in pieces.values() for piece in each)
        several = sorted(
            label
            for label, each in pieces.items()
            if len(each) > 1
            and all(often[piece] > 1 for piece in each)
            and any(other < each or each < other for other in pieces.values())
        )
        if several:
            text = (
                f"Labels in the column “{column}” of {name} look like several of one picture: "
                f"{name_list(map(printable, several))}. Each combination is a class of its own."
            )
            return Weakness("labels_combined", text, len(several))
    return None
