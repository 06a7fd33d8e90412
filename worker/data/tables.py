"""Tables that name pictures and say what they show: CSV, TSV, JSON lines, and lists with spaces."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.data.errors import DatasetError
from worker.data.layout import Contents, Found, Sample
from worker.data.members import Member
from worker.data.names import Path, name_list, printable
from worker.data.picture_index import PictureIndex, part_of_path, part_of_table
from worker.data.roles import Part, named_part, part_of
from worker.data.weaknesses import Weakness

_LABELS = (
    "label", "labels", "class", "classname", "category", "target", "breed", "species", "y", "dx",
    "diagnosis", "finegrainedlabel", "classid", "labelid", "labelname", "categoryname",
    "categoryid", "predictionstring",
)  # fmt: skip
"""What a column of labels is called, without spaces and punctuation."""
_SPLITS = ("split", "set", "subset", "partition", "usage", "fold", "dataset", "datasets")
_YES, _NO = ({"true", "1", "1.0", "yes", "y", "t"}, {"false", "0", "0.0", "no", "n", "f", ""})
_ROW_NUMBERS = ("", "index", "unnamed0")
"""What pandas calls a column of them, without spaces and punctuation."""
_SAMPLE_OF_ANSWERS = ("submission", "samplesubmission")
_SAMPLED = 500
_FEW = 0.1
"""Share of rows that may be none of one class."""
_MOST_CELLS = 2**23
"""Of a table of records; many short ones, each with a column of its own, would make the square of
their count."""
_BOXED = re.compile(r"(n\d{8})(?: \d+){4}(?: \1(?: \d+){4})*")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Table:
    """What one file says of pictures."""

    path: Path
    name: str
    """The path, as it may be shown."""
    column: str
    """That of the labels, as it is called there."""
    labels: Mapping[int, str]
    """By the ordinals of pictures; empty where a row has none."""
    parts: Mapping[int, Part | None]
    torn: frozenset[int]
    """Pictures that several rows give different labels."""
    no_parts: str
    """What a column of parts says of pictures that have none, as a sentence; or nothing."""
    sure: bool
    """Whether the column is called a label, or can be nothing else."""
    nothing: frozenset[str] = frozenset()
    """What the column says of pictures without a label, in words of its own."""
    others: tuple[Path, ...] = ()
    """Files that it is of beside `path`."""

    def covers(self, pictures: Sequence[Member]) -> float:
        """The share of pictures that it names."""
        return sum(p.ordinal in self.labels for p in pictures) / max(1, len(pictures))

    def agrees(self, pictures: Sequence[Member]) -> bool:
        """Whether the labels are the folders that the pictures lie in."""
        said = [(self.labels[p.ordinal].casefold(), p.path[:-1]) for p in pictures
                if p.ordinal in self.labels]  # fmt: skip
        pairs = {(label, path[-1]) for label, path in said if path}
        if 1 < len(pairs) == len({label for label, _ in pairs}) == len({f for _, f in pairs}):
            return True  # numbers of the folders, for example
        same = sum(label in (part.casefold() for part in path) for label, path in said)
        return same >= 0.95 * len(said)

    def found(self, pictures: Sequence[Member]) -> Found:
        """The pictures that it labels."""
        found = Found(
            f"a table of labels, {self.name}", [], used={self.path, *self.others},
            no_parts=self.no_parts,
        )  # fmt: skip
        for picture in pictures:
            label = self.labels.get(picture.ordinal)
            if label is None:
                found.left_out[f"pictures that {self.name} does not name"] += 1
            elif picture.ordinal in self.torn:
                found.left_out[f"pictures with several labels in {self.name}"] += 1
            elif not label:
                found.left_out[f"pictures without a label in {self.name}"] += 1
            else:
                part = self.parts[picture.ordinal]
                name = "/".join(picture.path)
                found.samples.append(Sample(picture.ordinal, name, label, part))
        said = f"Labels are those of the column “{self.column}” of {self.name}."
        if self.nothing:
            said = f"{said} Taken for no label: {name_list(sorted(self.nothing))}."
        found.notes.append(said)
        if not self.sure:
            text = (
                f"The column “{self.column}” of {self.name} is called no label, and taken for it."
            )
            found.warnings.append(Weakness("labels_guessed", text, len(found.samples)))
        return found


def tables_of(contents: Contents, index: PictureIndex) -> list[Table]:
    """The tables of an archive that name pictures of it, those that name most first.

    Raises DatasetError where one names pictures and it cannot be told which column labels them.
    """
    found = []
    for path, text in contents.texts.items():
        words = "".join(re.findall("[a-z]+", path[-1].rpartition(".")[0].lower()))
        if path[-1].lower().endswith(".json") or words.endswith(_SAMPLE_OF_ANSWERS):
            continue
        is_records = path[-1].lower().endswith(".jsonl")
        table = _table(path, _records(text) if is_records else _rows(text), index)
        if table is None and path[-1].lower().endswith(".txt"):
            table = _table(path, _first_and_rest(text), index)
        if table is not None:
            found.append(table)
    return sorted(found, key=lambda table: -len(table.labels))


def joined(tables: Sequence[Table]) -> Table | None:
    """One table of those that each label the pictures of a part; None where there are no such.

    Two tables of one part, or that name one picture, say different things of them.
    """
    by_part: dict[Part, list[Table]] = {}
    for table in tables:
        part = named_part(table.path[-1].rpartition(".")[0])
        if part is not None:
            by_part.setdefault(part, []).append(table)
    taken = [several[0] for several in by_part.values()]
    labels = {ordinal: label for table in taken for ordinal, label in table.labels.items()}
    if (
        len(taken) < 2
        or any(len(several) > 1 for several in by_part.values())
        or len(labels) < sum(len(table.labels) for table in taken)
        or len({table.column for table in taken}) > 1
    ):
        return None
    return Table(
        path=taken[0].path,
        name=name_list(sorted(table.name for table in taken)),
        column=taken[0].column,
        labels=labels,
        parts={
            ordinal: said or part
            for part, (table,) in by_part.items()
            for ordinal, said in table.parts.items()
        },
        torn=frozenset().union(*(table.torn for table in taken)),
        no_parts="",
        sure=all(table.sure for table in taken),
        nothing=frozenset().union(*(table.nothing for table in taken)),
        others=tuple(table.path for table in taken[1:]),
    )


def _rows(text: str) -> list[list[str]]:
    """Cells by rows, at the separator that makes the same number of several cells in most rows."""
    lines = text.splitlines()
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
        rows = [
            [_unboxed(cell.strip()) for cell in row] for row in csv.reader(lines, delimiter=best)
        ]
    except csv.Error:  # a cell longer than any of a table
        return []
    return [row for row in rows if len(row) == cells]


def _unboxed(cell: str) -> str:
    """ImageNet's solutions have an id of WordNet, a box, and the same again for further objects."""
    boxes = _BOXED.fullmatch(cell)
    return boxes[1] if boxes else cell


def _first_and_rest(text: str) -> list[list[str]]:
    """Rows of a picture and of a label that may have spaces: `0034309 Boeing 717`."""
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    found = [row for row in rows if len(row) == 2]
    measured = sum(" " in rest and all(map(_NUMBER.fullmatch, rest.split())) for _, rest in found)
    return [] if measured > len(found) / 2 else found  # several columns are several labels


def _records(text: str) -> list[list[str]]:
    """Cells by rows, the names of the columns first, of an object a line: `metadata.jsonl`, as
    Hugging Face's `datasets` has it. Values that are no text, number or truth are left out.
    """
    try:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []
    if not all(isinstance(record, dict) for record in records):
        return []
    plain = [
        {key: str(value) for key, value in record.items() if isinstance(value, str | int | float)}
        for record in records
    ]
    head = list(dict.fromkeys(key for record in plain for key in record))
    if len(head) * len(plain) > _MOST_CELLS:
        return []
    return [head, *([record.get(key, "").strip() for key in head] for record in plain)]


def _table(path: Path, rows: list[list[str]], index: PictureIndex) -> Table | None:
    if not rows:
        return None
    sample = rows[1 : 1 + _SAMPLED] or rows
    columns = range(len(rows[0]))
    name = "/".join(path)
    key = _key(
        name, rows[0], sample, [[index.find(row[c], path) for row in sample] for c in columns]
    )
    if key is None:
        return None
    has_head = index.find(rows[0][key], path) is None
    head = rows[0] if has_head else [f"{c + 1}" for c in columns]
    body = rows[1:] if has_head else rows
    split = _split(name, head, body, key) if has_head else None
    others = [c for c in columns if c != key and (split is None or c not in split.columns)]
    labels = _labels(name, head, body, others, has_head)
    if labels is None:
        return None
    return _filled(path, head, labels, body, key, split, index)


def _key(
    name: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    met: Sequence[list[Member | None]],
) -> int | None:
    """The column whose cells name pictures, most of them different ones; None where none does.

    `met` are the pictures by column and row. Numbers of rows may be the names of pictures, too, and
    of other ones. Raises DatasetError where it cannot be told which of two are meant.
    """
    half = 0.5 * len(rows)
    columns = [c for c, column in enumerate(met) if sum(m is not None for m in column) >= half]
    columns = [c for c in columns if _plain(head[c]) not in (*_ROW_NUMBERS, *_LABELS)] or columns
    whole = [c for c in columns if _names_whole(rows, c, met[c]) >= half]
    different = {c: len({m.ordinal for m in met[c] if m is not None}) for c in whole or columns}
    best = max(different, key=different.__getitem__, default=None)
    if whole or best is None:
        return best
    rivals = [c for c in columns if different[c] >= 0.5 * different[best]]
    if any(met[c] != met[best] for c in rivals):
        raise DatasetError(
            f"{name} has several columns that may name the pictures: "
            f"{name_list(head[c] for c in rivals)}.",
            "Keep the one with file names, or write them with their suffixes.",
        )
    return best


def _names_whole(rows: Sequence[Sequence[str]], column: int, met: Sequence[Member | None]) -> int:
    """How many cells name their pictures with the suffix."""
    return sum(
        m is not None and row[column].casefold().endswith(m.path[-1].casefold())
        for row, m in zip(rows, met, strict=True)
    )


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.casefold())


def _are_parts(head: Sequence[str], body: Sequence[Sequence[str]], column: int) -> bool:
    """Whether a column says parts: some values do under a usual name, or all and several do."""
    values = {row[column] for row in body}
    if len(values) > 10:
        return False
    if _plain(head[column]) in _SPLITS:
        return any(named_part(value) for value in values)
    parts = {part_of(value) for value in values}
    return len(parts) > 1 and None not in parts


@dataclass(frozen=True)
class _Split:
    """What columns of a table say of the parts of its rows."""

    columns: frozenset[int]
    name: str
    """What they are called."""
    of_row: Sequence[Part | None]
    said: Sequence[str]
    """The cells that this is read from."""
    otherwise: Part | None = None
    """Of rows of which nothing else says a part."""


def _split(
    name: str, head: Sequence[str], body: Sequence[Sequence[str]], key: int
) -> _Split | None:
    """One column of parts, or columns such as `is_valid`, which say yes or no.

    Raises DatasetError where these cannot be understood as parts.
    """
    columns = [c for c in range(len(head)) if c != key]
    for c in columns:
        if _are_parts(head, body, c):
            values = [row[c] for row in body]
            return _Split(frozenset([c]), head[c], [named_part(value) for value in values], values)
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
    return _Split(
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


@dataclass(frozen=True)
class _Labels:
    column: str
    of_row: Sequence[str]
    sure: bool
    nothing: frozenset[str] = frozenset()


def _labels(
    name: str, head: Sequence[str], body: list[list[str]], others: Sequence[int], has_head: bool
) -> _Labels | None:
    """The labels of all rows; None where the table has none.

    Raises DatasetError where several columns could be meant.
    """
    stem = name.rpartition("/")[2].rpartition(".")[0]
    named = [c for c in others if _plain(head[c]) in _LABELS] if has_head else []
    one_hot = _one_hot(head, body, others) if has_head and not named else None
    if one_hot is not None:
        return one_hot
    candidates = named or [c for c in others if _could_label(body, c, has_head, stem)]
    if len(candidates) > 1:
        candidates = _same(body, candidates)
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
    missing = {"", "nan", "none", "null", "?", "-1"}
    of_row = ["" if value.casefold() in missing else value for value in values]
    nothing = frozenset(values) - {"", *of_row}
    sure = bool(named) or not has_head
    return _Labels(printable(head[column]), _as_integers(of_row), sure, nothing)


def _as_integers(values: Sequence[str]) -> Sequence[str]:
    """`3.0` is `3` where all are whole numbers."""
    if all(re.fullmatch(r"\d+\.0+", value) for value in values if value):
        return [value.partition(".")[0] for value in values]
    return values


def _one_hot(
    head: Sequence[str], body: Sequence[Sequence[str]], others: Sequence[int]
) -> _Labels | None:
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
    return _Labels(name_list(head[c] for c in others), labels, True)


def _could_label(body: Sequence[Sequence[str]], column: int, has_head: bool, stem: str) -> bool:
    """Values that come again and again, and without a head no measures; in a list of a part
    (`train.txt`) whole numbers too, beside nothing but names of pictures.
    """
    values = {row[column] for row in body}
    words = any(not _NUMBER.fullmatch(value) for value in values if value)
    listed = named_part(stem) is not None and len(body[0]) == 2
    alone = listed and all(value.isdecimal() for value in values)
    return 2 <= len(values) <= len(body) / 2 and (words or has_head or alone)


def _same(body: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """One of columns that say the same, such as a name and its number: the one with words."""
    first = columns[0]
    for column in columns[1:]:
        pairs = {(row[first], row[column]) for row in body}
        if len(pairs) > len({a for a, _ in pairs}) or len(pairs) > len({b for _, b in pairs}):
            return list(columns)
    wordy = [c for c in columns if any(not _NUMBER.fullmatch(row[c]) for row in body)]
    return [wordy[0] if wordy else first]


def _filled(
    path: Path,
    head: Sequence[str],
    labels: _Labels,
    body: Sequence[Sequence[str]],
    key: int,
    split: _Split | None,
    index: PictureIndex,
) -> Table:
    mine = part_of_table(path[-1])
    said: dict[int, str] = {}
    parts: dict[int, Part | None] = {}
    torn, strange = set(), set()
    for number, (row, label) in enumerate(zip(body, labels.of_row, strict=True)):
        picture = index.find(row[key], path)
        if picture is None:
            continue
        if said.setdefault(picture.ordinal, label) != label:
            torn.add(picture.ordinal)
        by_row, otherwise = (split.of_row[number], split.otherwise) if split else (None, None)
        part = by_row or part_of_path(picture.path[:-1]) or mine or otherwise
        parts[picture.ordinal] = part
        if split is not None and part is None:
            strange.add(split.said[number] or "(nothing)")
    name, no_parts = printable("/".join(path)), ""
    if split is not None and strange:
        column = printable(split.name)
        no_parts = f"The column “{column}” of {name} says: {name_list(sorted(strange))}."
    return Table(
        path, name, labels.column, said, parts, frozenset(torn), no_parts, labels.sure,
        labels.nothing,
    )  # fmt: skip


def listed_parts(
    contents: Contents, index: PictureIndex
) -> tuple[Mapping[int, Part], tuple[Path, ...]]:
    """Parts of pictures by lists such as train.txt and test.txt, and where these are."""
    parts: dict[int, Part] = {}
    used = []
    for path, text in contents.texts.items():
        part = part_of_table(path[-1])
        if part is None:
            continue
        lines = [[line.strip()] for line in text.splitlines() if line.strip()]
        columns = [list(column) for column in zip(*(_rows(text) or lines), strict=True)]
        found = [[m for cell in column if (m := index.find(cell, ("",)))] for column in columns]
        named = max(found, key=len, default=[])
        if len(named) >= 0.5 * len(lines) > 0:
            parts |= {picture.ordinal: part for picture in named}
            used.append(path)
    return parts, tuple(used)
