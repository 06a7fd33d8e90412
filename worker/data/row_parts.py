"""What a table says of the parts of its rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.data.errors import DatasetError
from worker.data.names import name_list, printable
from worker.data.roles import Part, named_part, part_of
from worker.data.rows import plain_name
from worker.data.weaknesses import Weakness

_SPLITS = ("split", "subset", "partition", "fold", "set")
"""What a column of parts is called, without spaces and punctuation."""
SPLITS = (*_SPLITS, "usage", "dataset", "datasets")
_NUMBERED = {"0": Part.TRAIN, "1": Part.VALIDATION, "2": Part.TEST}
"""As CelebA and WILDS number them."""
_YES, _NO = ({"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f", ""})


def _are_parts(head: Sequence[str], body: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column says parts: some values do under a usual name, or all and several do."""
    values = {row[column] for row in body}
    if len(values) > 10:
        return False
    if plain_name(head[column]) in SPLITS:
        return any(named_part(value) for value in values)
    parts = {part_of(value) for value in values}
    return len(parts) > 1 and None not in parts


@dataclass(frozen=True)
class Split:
    """What columns of a table say of the parts of its rows."""

    columns: frozenset[int]
    name: str
    """What they are called."""
    of_row: Sequence[Part | None]
    said: Sequence[str]
    """The cells that this is read from."""
    otherwise: Part | None = None
    """Of rows of which nothing else says a part."""
    doubts: tuple[Weakness, ...] = ()


def split_of(
    name: str, head: Sequence[str], body: Sequence[Sequence[str]], key: int
) -> Split | None:
    """One column of parts, or columns such as `is_valid`, which say yes or no.

    Raises DatasetError where these cannot be meant.
    """
    columns = [c for c in range(len(head)) if c != key]
    for c in columns:
        if _are_parts(head, body, c):
            values = [row[c] for row in body]
            return Split(frozenset([c]), head[c], [named_part(value) for value in values], values)
    numbered = next((c for c in columns if plain_name(head[c]) in _SPLITS), None)
    return _by_flags(name, head, body, columns) or (
        None if numbered is None else _by_numbers(name, head, body, numbered)
    )


def _by_numbers(
    name: str, head: Sequence[str], body: Sequence[Sequence[str]], column: int
) -> Split | None:
    """A column under the name of one of parts, that says numbers; they may be anything."""
    values = [row[column] for row in body]
    said = name_list(sorted(set(values)))
    name, called = printable(name), printable(head[column])
    if set(values) == set(_NUMBERED) and plain_name(head[column]) != "fold":
        text = f"The column “{called}” of {name} says {said}: taken for train, validation and test."
        of_row = [_NUMBERED[value] for value in values]
        doubts = (Weakness("split_guessed", text, len(body)),)
        return Split(frozenset([column]), head[column], of_row, values, doubts=doubts)
    if not values or not all(value.isdecimal() for value in values):
        return None
    text = f"The column “{called}” of {name} says {said}, which names no part: it is not used."
    doubts = (Weakness("split_not_used", text, len(body)),)
    return Split(frozenset([column]), head[column], [None] * len(body), values, None, doubts)


def _by_flags(
    name: str, head: Sequence[str], body: Sequence[Sequence[str]], columns: Sequence[int]
) -> Split | None:
    """Columns that say yes or no. Raises DatasetError."""
    flags = {c: part for c in columns if (part := _flagged(head[c], [row[c] for row in body]))}
    if not flags or not body:
        return None
    raised = [{part for c, part in flags.items() if row[c].casefold() in _YES} for row in body]
    called = name_list(head[c] for c in flags)
    evaluated = sum(bool(parts - {Part.TRAIN}) for parts in raised)
    if max(map(len, raised)) > 1 or evaluated > len(body) / 2:
        several = max(map(len, raised)) > 1
        why = "several parts of one picture" if several else "that most are not to train on"
        raise DatasetError(
            f"{name} says {why}: {called}.",
            "Write one column, split, with train, validation and test, or leave these out.",
        )
    return Split(
        columns=frozenset(flags),
        name=called,
        of_row=[next(iter(parts), None) for parts in raised],
        said=["no"] * len(body),
        otherwise=Part.TEST if Part.TRAIN in flags.values() else Part.TRAIN,
    )


def _flagged(head: str, values: Sequence[str]) -> Part | None:
    """The part of `is_valid`, `isTest`, `is_train`, where all its values are yes or no."""
    begins = re.match(r"(?i)is[\W_]*(?=\w)", head)
    if begins is None or not {value.casefold() for value in values} <= _YES | _NO:
        return None
    return part_of(head[begins.end() :])
