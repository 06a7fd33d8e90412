"""Tables that name pictures and say what they show: CSV, TSV, JSON lines, and lists with spaces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.data.errors import DatasetError
from worker.data.label_columns import LABELS, Labels, labels_of
from worker.data.label_doubts import check_boxes, combined
from worker.data.layout import Contents, Found, Sample
from worker.data.members import Member
from worker.data.names import Path, name_list, printable
from worker.data.picture_index import PictureIndex, part_of_path, part_of_table
from worker.data.roles import Part, named_part
from worker.data.row_parts import Split, split_of
from worker.data.rows import first_and_rest, plain_name, records, rows_of
from worker.data.weaknesses import Weakness

_ROW_NUMBERS = ("", "index", "unnamed0")
"""What pandas calls a column of them, without spaces and punctuation."""
_SAMPLE_OF_ANSWERS = ("submission", "samplesubmission")
_SAMPLED = 500


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
    doubts: tuple[Weakness, ...] = ()
    """What may be meant otherwise."""

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
        found.warnings.extend(self.doubts)
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
        table = _table(path, records(text) if is_records else rows_of(text), index)
        if table is None and path[-1].lower().endswith(".txt"):
            table = _table(path, first_and_rest(text), index)
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
        doubts=tuple(doubt for table in taken for doubt in table.doubts),
    )


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
    pictures = [index.find(row[key], path) for row in body]
    if has_head:
        check_boxes(name, head, [None if p is None else p.ordinal for p in pictures])
    split = split_of(name, head, body, key) if has_head else None
    others = [c for c in columns if c != key and (split is None or c not in split.columns)]
    labels = labels_of(name, head, body, others, has_head, pictures)
    return None if labels is None else _filled(path, labels, pictures, split)


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
    unusual = (*_ROW_NUMBERS, *LABELS)
    columns = [c for c in columns if plain_name(head[c]) not in unusual] or columns
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


def _filled(
    path: Path,
    labels: Labels,
    pictures: Sequence[Member | None],
    split: Split | None,
) -> Table:
    mine = part_of_table(path[-1])
    said: dict[int, str] = {}
    parts: dict[int, Part | None] = {}
    torn, strange = set(), set()
    for number, (label, picture) in enumerate(zip(labels.of_row, pictures, strict=True)):
        if picture is None:
            continue
        if said.setdefault(picture.ordinal, label) != label:
            torn.add(picture.ordinal)
        by_row, otherwise = (split.of_row[number], split.otherwise) if split else (None, None)
        part = by_row or part_of_path(picture.path[:-1]) or mine or otherwise
        parts[picture.ordinal] = part
        if split is not None and part is None and not split.doubts:
            strange.add(split.said[number] or "(nothing)")
    name, no_parts = printable("/".join(path)), ""
    if split is not None and strange:
        column = printable(split.name)
        no_parts = f"The column “{column}” of {name} says: {name_list(sorted(strange))}."
    several = combined(name, labels.column, set(said.values()))
    missing = sum(picture is None for picture in pictures)
    doubts = (
        *(split.doubts if split else ()),
        *([several] if several else []),
        *([_missing(name, missing, len(pictures))] if missing else []),
    )
    return Table(
        path, name, labels.column, said, parts, frozenset(torn), no_parts, labels.sure,
        labels.nothing, doubts=doubts,
    )  # fmt: skip


def _missing(name: str, missing: int, rows: int) -> Weakness:
    text = f"Of {rows:,} rows of {name}, {missing:,} name no picture that is there, or several."
    return Weakness("rows_without_pictures", text, missing)


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
        columns = [list(column) for column in zip(*(rows_of(text) or lines), strict=True)]
        found = [[m for cell in column if (m := index.find(cell, ("",)))] for column in columns]
        named = max(found, key=len, default=[])
        if len(named) >= 0.5 * len(lines) > 0:
            parts |= {picture.ordinal: part for picture in named}
            used.append(path)
    return parts, tuple(used)
