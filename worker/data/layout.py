"""Which files of an archive are pictures of which class, in which part.

Every way to lay out a dataset has a reader, which is given what the archive holds and returns the
pictures that it finds, or None where the layout is not its own. The first that finds some decides.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from worker.data import classes
from worker.data.errors import DatasetError
from worker.data.images import SUFFIXES, UNREAD_SUFFIXES
from worker.data.members import Listing, Member
from worker.data.names import Path, is_shown, name_list, printable
from worker.data.refusals import LAYOUT_HINT, not_in_class_folders, nothing_found
from worker.data.roles import Part
from worker.data.weaknesses import Weakness

MAX_CLASSES = 1000
MAX_NAME = 100  # characters of a class name
TO_PREDICT = "pictures to predict, without labels"


class Sample(NamedTuple):
    """A picture of a class: its place in its source, and its part where the source has parts."""

    ordinal: int
    name: str
    class_name: str
    part: Part | None


@dataclass
class Found:
    """What a reader made of an archive."""

    kind: str
    """The layout, in words: `class folders`."""
    samples: list[Sample]
    notes: list[str] = field(default_factory=list)
    """How it was understood, in sentences."""
    warnings: list[Weakness] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Files that are no pictures of a class, by the reason."""
    order: Sequence[str] | None = None
    """The classes in the order that the source itself gives them; None where it gives none."""
    used: set[Path] = field(default_factory=set)
    """Other files that were read: tables, lists, and those that hold many pictures."""
    no_parts: str = ""
    """Why pictures beside those of parts have none, as a sentence, where that is known."""


@dataclass(frozen=True)
class Contents:
    """What an archive holds, sorted for readers."""

    pictures: Sequence[Member]
    folders: frozenset[Path]
    others: Sequence[Member]
    texts: Mapping[Path, str]
    """The tables and lists of names among the others."""
    read: Callable[[Mapping[int, int]], Iterable[tuple[int, bytes | str]]]
    guessed: frozenset[Path] = frozenset()
    """The texts whose encoding is a guess."""
    prose: Mapping[Path, str] = field(default_factory=dict)
    """What people wrote about it for people, among the others: `README.md`."""


Reader = Callable[[Contents], Found | None]


@dataclass(frozen=True)
class Layout:
    """Classes, and their pictures sorted by part, class and name; all have a part, or none has."""

    kind: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    labels: tuple[int, ...]
    notes: tuple[str, ...]
    warnings: tuple[Weakness, ...]
    left_out: Mapping[str, int]


_WORD = re.compile(r"[^\W\d_]")
_TEXTS = (".csv", ".tsv", ".txt", ".json", ".jsonl")
_NO_PICTURES = "files that are no pictures"
_PROSE = (".md", ".rst", ".yaml", ".yml", "readme")
_MOST_PROSE, _LONGEST_PROSE = 10, 2**18
_MOST_TEXTS, _LONGEST_TEXT, _ALL_TEXTS = 50, 16 * 2**20, 64 * 2**20


def contents_of(
    listing: Listing, read: Callable[[Mapping[int, int]], Iterable[tuple[int, bytes | str]]]
) -> Contents:
    """Sort what an archive lists; of many or long texts those that lie highest are read."""
    files = [member for member in listing.members if not member.is_folder]
    folders = {member.path for member in listing.members if member.is_folder}
    folders |= {member.path[:-1] for member in files}
    pictures = [file for file in files if has_suffix(file, SUFFIXES)]
    others = [file for file in files if not has_suffix(file, SUFFIXES)]
    texts = [o for o in others if has_suffix(o, _TEXTS) and o.size <= _LONGEST_TEXT]
    texts.sort(key=lambda member: (len(member.path), member.path))
    sums = accumulate(member.size for member in texts)
    few = [m for m, sum_ in zip(texts, sums, strict=True) if sum_ <= _ALL_TEXTS][:_MOST_TEXTS]
    prose = [o for o in others if has_suffix(o, _PROSE) and o.size <= _LONGEST_PROSE]
    prose = sorted(prose, key=lambda member: (len(member.path), member.path))[:_MOST_PROSE]
    by_ordinal = {member.ordinal: member.path for member in (*few, *prose)}
    found, guessed, told = {}, set(), {member.path for member in prose}
    if by_ordinal:
        for ordinal, data in read({ordinal: ordinal for ordinal in by_ordinal}):
            if isinstance(data, bytes):
                path = by_ordinal[ordinal]
                found[path], known = _text(data)
                guessed |= set() if known else {path}
    about = {path: found.pop(path) for path in told & found.keys()}
    return Contents(
        pictures, frozenset(folders), others, found, read, frozenset(guessed - told), about
    )


def _text(data: bytes) -> tuple[str, bool]:
    """What is written, and whether its encoding is known."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding), True
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), False


def has_suffix(member: Member, suffixes: tuple[str, ...]) -> bool:
    return member.path[-1].lower().endswith(suffixes)


def find_layout(
    contents: Contents,
    readers: Sequence[Reader],
    *,
    order: classes.Order = "natural",
    given: Sequence[str] | None = None,
) -> Layout:
    """The classes of an archive and their pictures.

    Args:
        order: how classes are sorted, which decides what each label stands for.
        given: the classes in their order, instead.

    Raises:
        DatasetError: there are no classes, fewer than two, too many, an empty one, one that is in
            one part only, or one whose name cannot be shown; or names and order do not fit.
    """
    found = next((f for f in (reader(contents) for reader in readers) if f is not None), None)
    if found is None or not found.samples:
        raise _nothing_found(contents)
    _settle_parts(found)
    own = sorted({sample.class_name for sample in found.samples})
    renamed = classes.spoken(own, contents.texts)
    _check_names(sorted(renamed.get(name, name) for name in own))
    _tell_alike(found, own)
    _tell_guessed(found, contents.guessed)
    names = classes.ordered(found, contents.texts, order, given, renamed)
    label = {name: number for number, name in enumerate(names)}
    samples = [
        s._replace(class_name=renamed.get(s.class_name, s.class_name)) for s in found.samples
    ]
    parts = list(Part)
    samples.sort(key=lambda s: (parts.index(s.part or Part.TRAIN), label[s.class_name], s.name))
    return Layout(
        kind=found.kind,
        class_names=tuple(names),
        samples=tuple(samples),
        labels=tuple(label[s.class_name] for s in samples),
        notes=tuple(found.notes),
        warnings=tuple(found.warnings),
        left_out=found.left_out + _unpictured(contents, found.used),
    )


def _settle_parts(found: Found) -> None:
    """Leave out what is to be predicted; beside parts, pictures of none are training images."""
    kept = [sample for sample in found.samples if sample.part is not Part.UNLABELLED]
    if not kept:
        raise DatasetError(
            "All pictures are to predict, by the names of their folders, files or parts.",
            LAYOUT_HINT,
        )
    if left := len(found.samples) - len(kept):
        found.left_out[TO_PREDICT] += left
    guessed = sum(sample.part is None for sample in kept)
    if 0 < guessed < len(kept):
        text = f"Pictures of no part beside those of parts, taken as training images: {guessed:,}."
        text = f"{text} {found.no_parts}".rstrip()
        found.warnings.append(Weakness("part_guessed", text, guessed))
        kept = [sample._replace(part=sample.part or Part.TRAIN) for sample in kept]
    found.samples = kept


def _tell_alike(found: Found, names: Sequence[str]) -> None:
    """Say which classes may be one, written in several ways."""
    ways: dict[str, list[str]] = {}
    for name in filter(_WORD.search, names):
        plain = unicodedata.normalize("NFKC", name).casefold()
        ways.setdefault(re.sub(r"[\s_-]+", " ", plain).strip(), []).append(name)
    alike = [name for several in ways.values() if len(several) > 1 for name in several]
    if alike:
        text = (
            "Classes that differ in capitals, spaces, dashes or forms of letters alone: "
            f"{name_list(alike)}."
        )
        found.warnings.append(Weakness("alike_classes", text, len(alike)))


def _tell_guessed(found: Found, guessed: Collection[Path]) -> None:
    """Say which files that were used are not in UTF-8."""
    if names := sorted("/".join(path) for path in found.used.intersection(guessed)):
        text = (
            f"Not in UTF-8, and read as cp1252: {name_list(names)}. Save it as UTF-8 if names look "
            "wrong."
        )
        found.warnings.append(Weakness("names_guessed", text, len(names)))


def unread_files(contents: Contents) -> Counter[str]:
    """Pictures of formats that are not read, by the reason, beside some that are."""
    counts = _unpictured(contents) if contents.pictures else Counter[str]()
    del counts[_NO_PICTURES]
    return counts


def _unpictured(contents: Contents, used: Collection[Path] = ()) -> Counter[str]:
    """Files that are no pictures and were not used, those of formats that are not read by name."""
    counts = Counter[str]()
    for member in contents.others:
        if member.path in used:
            continue
        suffix = "." + member.path[-1].lower().rpartition(".")[2]
        unread = suffix in UNREAD_SUFFIXES
        what = f"{suffix[1:].upper()} files, which are not read" if unread else _NO_PICTURES
        counts[what] += 1
    return counts


def _nothing_found(contents: Contents) -> DatasetError:
    if contents.pictures:
        return not_in_class_folders(contents, "at the top of the archive")
    unread = sorted(reason for reason in _unpictured(contents) if reason != _NO_PICTURES)
    if unread:
        return DatasetError(
            f"The archive holds no pictures that the lab reads, but {name_list(unread)}.",
            "Convert them to PNG or JPEG.",
        )
    return nothing_found(contents)


def _check_names(names: Sequence[str]) -> None:
    if len(names) > MAX_CLASSES:
        raise DatasetError(
            f"The archive has {len(names):,} classes.",
            f"The lab takes at most {MAX_CLASSES:,} classes; each class is one folder of images.",
        )
    for name in names:
        if len(name) > MAX_NAME or not name.strip() or not all(is_shown(c) for c in name):
            raise DatasetError(
                f'A class\'s name cannot be shown: "{printable(name)}".',
                f"Rename it: 1 to {MAX_NAME} characters, in UTF-8, without control characters.",
            )
    if len(names) == 1:
        raise DatasetError(
            f"The archive has only one class, {names[0]}.",
            "A classifier needs at least two class folders side by side.",
        )
