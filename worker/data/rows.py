"""Rows of cells of a text: CSV, TSV, JSON lines, and lists with spaces."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter

_MOST_CELLS = 2**23
"""Of a table of records; many short ones, each with a column of its own, would make the square of
their count."""
_BOXED = re.compile(r"(n\d{8})(?: \d+){4}(?: \1(?: \d+){4})*")
_EXCEL = re.compile("sep=(.)")
"""Excel's own first line: the separator."""
NO_LABEL = frozenset({"", "nan", "none", "null", "?", "-1"})
"""What stands where there is no label."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def plain_name(word: str) -> str:
    """What a column is called, without spaces, punctuation and capitals."""
    return re.sub(r"[\W_]+", "", word.casefold())


def rows_of(text: str) -> list[list[str]]:
    """Cells by rows, at the separator that makes the same number of several cells in most rows."""
    lines = text.splitlines()
    if lines and _EXCEL.fullmatch(lines[0].strip()):
        lines = lines[1:]
    sample = [line for line in lines[:50] if line.strip()]
    best, cells, most = ",", 1, 0.8 * len(sample)
    try:
        for separator in (",", "\t", ";", " "):
            counts = Counter(len(row) for row in csv.reader(sample, delimiter=separator))
            usual, times = counts.most_common(1)[0] if counts else (1, 0)
            if usual > 1 and (times, usual) > (most, cells):
                best, cells, most = separator, usual, times
        if cells < 2:
            return []
        spaced = best != " "  # `a, "b"` has two cells, b among them without its quotes
        read = csv.reader(lines, delimiter=best, skipinitialspace=spaced)
        rows = [[_unboxed(cell.strip()) for cell in row] for row in read]
    except csv.Error:  # a cell longer than any of a table
        return []
    return [row for row in rows if len(row) == cells]


def _unboxed(cell: str) -> str:
    """ImageNet's solutions have an id of WordNet, a box, and the same again for further objects."""
    boxes = _BOXED.fullmatch(cell)
    return boxes[1] if boxes else cell


def first_and_rest(text: str) -> list[list[str]]:
    """Rows of a picture and of a label that may have spaces: `0034309 Boeing 717`."""
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    found = [row for row in rows if len(row) == 2]
    measured = sum(" " in rest and all(map(NUMBER.fullmatch, rest.split())) for _, rest in found)
    return [] if measured > len(found) / 2 else found  # several columns are several labels


def records(text: str) -> list[list[str]]:
    """Cells by rows, the names of the columns first, of an object a line: `metadata.jsonl`, as
    Hugging Face's `datasets` has it. Values that are no text, number or truth are left out.
    """
    try:
        parsed = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []
    if not all(isinstance(record, dict) for record in parsed):
        return []
    plain = [
        {key: str(value) for key, value in record.items() if isinstance(value, str | int | float)}
        for record in parsed
    ]
    head = list(dict.fromkeys(key for record in plain for key in record))
    if len(head) * len(plain) > _MOST_CELLS:
        return []
    return [head, *([record.get(key, "").strip() for key in head] for record in plain)]
