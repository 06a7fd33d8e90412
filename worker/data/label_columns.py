"""Which column of a table says what pictures show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.data.errors import DatasetError
from worker.data.members import Member
from worker.data.names import name_list, printable
from worker.data.roles import named_part
from worker.data.rows import NO_LABEL, NUMBER, plain_name

LABELS = (
    "label", "labels", "class", "classname", "category", "target", "breed", "species", "y", "dx",
    "diagnosis", "finegrainedlabel", "classid", "labelid", "labelname", "categoryname",
    "categoryid", "predictionstring",
)  # fmt: skip
"""What a column of labels is called, without spaces and punctuation."""
_FEW = 0.1
"""Share of rows that may be none of one class."""


@dataclass(frozen=True)
class Labels:
    """What a table says of its rows, in one column or in one a class."""

    column: str
    """Its name, or theirs."""
    of_row: Sequence[str]
    """Empty for a row that has none."""
    sure: bool
    """Whether the column is called a label, or can be nothing else."""
    nothing: frozenset[str] = frozenset()
    """What it says of rows without a label, in words of its own."""


def labels_of(
    name: str,
    head: Sequence[str],
    body: list[list[str]],
    others: Sequence[int],
    has_head: bool,
    pictures: Sequence[Member | None],
) -> Labels | None:
    """The labels of all rows; None where the table has none.

    Raises DatasetError where several columns could be meant.
    """
    stem = name.rpartition("/")[2].rpartition(".")[0]
    named = [c for c in others if plain_name(head[c]) in LABELS] if has_head else []
    one_hot = _one_hot(head, body, others) if has_head and not named else None
    if one_hot is not None:
        return one_hot
    candidates = named or [c for c in others if _could_label(body, c, has_head, stem)]
    if len(candidates) > 1:
        candidates = _as_folders(body, candidates, pictures) or _same(body, candidates)
    if not candidates:
        return None
    if len(candidates) > 1:
        raise DatasetError(
            f"{name} has several columns that may be the label: "
            f"{name_list(head[c] for c in candidates)}.",
            "Keep the column of file names and the one with the class.",
        )
    (column,) = candidates
    values = [row[column] for row in body]
    of_row = ["" if value.casefold() in NO_LABEL else value for value in values]
    nothing = frozenset(values) - {"", *of_row}
    sure = bool(named) or not has_head
    return Labels(printable(head[column]), _as_integers(of_row), sure, nothing)


def _as_integers(values: Sequence[str]) -> Sequence[str]:
    """`3.0` is `3` where all are whole numbers."""
    if all(re.fullmatch(r"\d+\.0+", value) for value in values if value):
        return [value.partition(".")[0] for value in values]
    return values


def _one_hot(
    head: Sequence[str], body: Sequence[Sequence[str]], others: Sequence[int]
) -> Labels | None:
    """A column a class, with a one in that of the row's: in hardly any row none or several, which
    attributes have.
    """
    if len(others) < 2:
        return None
    labels = []
    for row in body:
        ones = [c for c in others if row[c] in ("1", "1.0", "True", "true")]
        zeros = sum(row[c] in ("0", "0.0", "False", "false") for c in others)
        if len(ones) + zeros < len(others):
            return None
        labels.append(head[ones[0]] if len(ones) == 1 else "")
    if labels.count("") > _FEW * len(labels):
        return None
    return Labels(name_list(head[c] for c in others), labels, True)


def _could_label(body: Sequence[Sequence[str]], column: int, has_head: bool, stem: str) -> bool:
    """Values that come again and again, and without a head no measures; in a list of a part
    (`train.txt`) whole numbers too, beside nothing but names of pictures.
    """
    values = {row[column] for row in body}
    words = any(not NUMBER.fullmatch(value) for value in values if value)
    if not words and any(value and not float(value).is_integer() for value in values):
        return False  # shares of a class, or measures
    listed = named_part(stem) is not None and len(body[0]) == 2
    alone = listed and all(value.isdecimal() for value in values)
    return 2 <= len(values) <= len(body) / 2 and (words or has_head or alone)


def _as_folders(
    body: Sequence[Sequence[str]], columns: Sequence[int], pictures: Sequence[Member | None]
) -> list[int]:
    """The one column that says of every picture what its folder is called, or none: beside it are
    labels with errors in them, as in Imagenette."""
    found = [(row, p.path[-2]) for row, p in zip(body, pictures, strict=True)
             if p is not None and len(p.path) > 1]  # fmt: skip
    fit = [c for c in columns if all(row[c] == folder for row, folder in found)]
    return fit if found and len(fit) == 1 else []


def _same(body: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """One of columns that say the same, such as a name and its number: the one with words."""
    first = columns[0]
    for column in columns[1:]:
        pairs = {(row[first], row[column]) for row in body}
        if len(pairs) > len({a for a, _ in pairs}) or len(pairs) > len({b for _, b in pairs}):
            return list(columns)
    wordy = [c for c in columns if any(not NUMBER.fullmatch(row[c]) for row in body)]
    return [wordy[0] if wordy else first]
