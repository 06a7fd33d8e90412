"""Tables that name pictures and say what they show: CSV, TSV, JSON lines, and lists with spaces."""

from __future__ import annotations

import csv
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import PurePosixPath

from worker.data.errors import DatasetError
from worker.data.layout import Contents, Found, Sample
from worker.data.members import Member
from worker.data.names import Path, name_list, printable
from worker.data.roles import Part, named_part, part_and_rest, part_of

_LABELS = (
    "label", "labels", "class", "classname", "category", "target", "breed", "species", "y", "dx",
    "diagnosis", "finegrainedlabel", "classid", "labelid", "labelname", "categoryname",
    "categoryid",
)  # fmt: skip
"""What a column of labels is called, without spaces and punctuation."""
_SPLITS = ("split", "set", "subset", "partition", "usage", "fold", "dataset", "datasets")
_ABOUT = (
    "label", "labels", "annotation", "annotations", "metadata", "gt", "groundtruth", "list", "info",
)  # fmt: skip
_SAMPLE_OF_ANSWERS = ("submission", "samplesubmission")
_SAMPLED = 500
_MOST_CELLS = 2**23
"""Of a table of records; many short ones, each with a column of its own, would make the square of
their count."""
_BOXED = re.compile(r"(n\d{8}) [\d ]+")
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
        found.notes.append(f"Labels are those of the column “{self.column}” of {self.name}.")
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
        # ImageNet's solutions have an id of WordNet, and behind it a box.
        rows = [
            [_BOXED.sub(r"\1", cell.strip()) for cell in row]
            for row in csv.reader(lines, delimiter=best)
        ]
    except csv.Error:  # a cell longer than any of a table
        return []
    return [row for row in rows if len(row) == cells]


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


class PictureIndex:
    """Finds pictures by what tables call them: a path, a name, or a name without its suffix.

    Paths are kept from their ends, sorted: those that end alike are neighbours.
    """

    def __init__(self, pictures: Sequence[Member]) -> None:
        ends: list[tuple[Path, Member]] = []
        for picture in pictures:
            *folders, name = (part.casefold() for part in picture.path)
            called = (name, name.rpartition(".")[0])
            ends += [((each, *reversed(folders)), picture) for each in called]
        ends.sort(key=itemgetter(0))
        self._ends = [end for end, _ in ends]
        self._pictures = [picture for _, picture in ends]
        self._told: dict[tuple[Path, Path], Member | None] = {}

    def find(self, said: str, table: Path) -> Member | None:
        """The picture; of several of a name the one that the path or the table's own name tells."""
        path = PurePosixPath(said.replace("\\", "/").casefold())
        end = tuple(part for part in reversed(path.parts) if part not in "./")
        if not end:
            return None
        found = self._ending(end[:1])
        if len(found) > 1:
            found = self._ending(end)
        if len(found) < 2:
            return self._pictures[found[0]] if found else None
        if (end, table) not in self._told:
            self._told[end, table] = _told([self._pictures[at] for at in found], table)
        return self._told[end, table]

    def _ending(self, end: Path) -> range:
        """Where the paths are that end so."""
        behind = (*end[:-1], f"{end[-1]}\0")  # no text lies between these two
        return range(bisect_left(self._ends, end), bisect_left(self._ends, behind))


def _told(found: Sequence[Member], table: Path) -> Member | None:
    """Of several pictures that a table may mean the one that lies where the table is, or says."""
    found = [m for m in found if m.path[: len(table) - 1] == table[:-1]] or found
    if len(found) > 1 and (mine := _part_of_table(table[-1])) is not None:
        found = [m for m in found if _part_of_path(m.path[:-1]) is mine]
    return found[0] if len(found) == 1 else None


def _part_of_path(path: Path) -> Part | None:
    return next((part for name in path if (part := part_of(name)) is not None), None)


def _part_of_table(name: str) -> Part | None:
    """Of `train.csv`, `trainLabels.csv`, `val_annotations.txt`."""
    stem = name.rpartition(".")[0]
    part = part_of(stem)
    said = part_and_rest(stem) if part is None else None
    return said[0] if said is not None and said[1].replace(" ", "") in _ABOUT else part


def _table(path: Path, rows: list[list[str]], index: PictureIndex) -> Table | None:
    if not rows:
        return None
    sample = rows[1 : 1 + _SAMPLED] or rows
    columns = range(len(rows[0]))
    met = [[m for row in sample if (m := index.find(row[c], path)) is not None] for c in columns]
    # Numbers of classes may be the names of some pictures, too, and then of few.
    key = max(columns, key=lambda c: (len({m.ordinal for m in met[c]}), len(met[c])))
    if len(met[key]) < 0.5 * len(sample):
        return None
    has_head = index.find(rows[0][key], path) is None
    head = rows[0] if has_head else [f"{c + 1}" for c in columns]
    body = rows[1:] if has_head else rows
    split = next((c for c in columns if has_head and _plain(head[c]) in _SPLITS and c != key
                  and _are_parts(body, c)), None)  # fmt: skip
    others = [c for c in columns if c not in (key, split)]
    name = "/".join(path)
    labels = _labels(name, head, body, others, has_head)
    if labels is None:
        return None
    return _filled(path, head, labels, body, key, split, index)


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.casefold())


def _are_parts(body: Sequence[Sequence[str]], column: int) -> bool:
    values = {row[column] for row in body}
    return len(values) <= 10 and any(named_part(value) for value in values)


@dataclass(frozen=True)
class _Labels:
    column: str
    of_row: Sequence[str]


def _labels(
    name: str, head: Sequence[str], body: list[list[str]], others: Sequence[int], has_head: bool
) -> _Labels | None:
    """The labels of all rows; None where the table has none.

    Raises DatasetError where several columns could be meant.
    """
    stem = name.rpartition("/")[2].rpartition(".")[0]
    one_hot = _one_hot(head, body, others) if has_head else None
    if one_hot is not None:
        return one_hot
    named = [c for c in others if _plain(head[c]) in _LABELS] if has_head else []
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
    return _Labels(printable(head[column]), _as_integers(of_row))


def _as_integers(values: Sequence[str]) -> Sequence[str]:
    """`3.0` is `3` where all are whole numbers."""
    if all(re.fullmatch(r"\d+\.0+", value) for value in values if value):
        return [value.partition(".")[0] for value in values]
    return values


def _one_hot(
    head: Sequence[str], body: Sequence[Sequence[str]], others: Sequence[int]
) -> _Labels | None:
    """A column a class, with a one in that of the row's."""
    if len(others) < 2:
        return None
    labels = []
    for row in body:
        ones = [c for c in others if row[c] in ("1", "1.0", "True", "true")]
        zeros = sum(row[c] in ("0", "0.0", "False", "false") for c in others)
        if len(ones) + zeros < len(others):
            return None
        labels.append(head[ones[0]] if len(ones) == 1 else "")
    return _Labels(name_list(head[c] for c in others), labels)


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
    split: int | None,
    index: PictureIndex,
) -> Table:
    mine = _part_of_table(path[-1])
    said: dict[int, str] = {}
    parts: dict[int, Part | None] = {}
    torn, strange = set(), set()
    for row, label in zip(body, labels.of_row, strict=True):
        picture = index.find(row[key], path)
        if picture is None:
            continue
        if said.setdefault(picture.ordinal, label) != label:
            torn.add(picture.ordinal)
        by_row = None if split is None else named_part(row[split])
        parts[picture.ordinal] = part = by_row or _part_of_path(picture.path[:-1]) or mine
        if split is not None and part is None:
            strange.add(row[split] or "(nothing)")
    name, no_parts = printable("/".join(path)), ""
    if split is not None and strange:
        column = printable(head[split])
        no_parts = f"The column “{column}” of {name} says: {name_list(sorted(strange))}."
    return Table(path, name, labels.column, said, parts, frozenset(torn), no_parts)


def listed_parts(
    contents: Contents, index: PictureIndex
) -> tuple[Mapping[int, Part], tuple[Path, ...]]:
    """Parts of pictures by lists such as train.txt and test.txt, and where these are."""
    parts: dict[int, Part] = {}
    used = []
    for path, text in contents.texts.items():
        part = _part_of_table(path[-1])
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
