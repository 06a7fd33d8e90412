"""The order of classes, which decides what each label stands for, and names for numbers and for
ids of WordNet."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from worker.data.errors import DatasetError
from worker.data.names import Path, name_list, natural_key, printable
from worker.data.weaknesses import Weakness

if TYPE_CHECKING:
    from worker.data.layout import Found

Order = str
"""`natural`, `sorted` by code points, or `file`: that of a list in the archive."""
_LONGEST_LINE = 300  # characters: a class's name, its number and a little more
_WORDNET = re.compile(r"n\d{8}")
_LISTS = ("classnames", "class_names", "classes", "labels", "batches.meta", "fine_label_names")
"""What lists of classes by number are called, without their suffixes."""
_NUMBERED = (
    re.compile(r"\s*(\d+)(?:\s+|\s*[,:;]\s*)(.*\S)\s*"),
    re.compile(r"\s*(.*\S)(?:\s+|\s*[,:;]\s*)(\d+)\s*"),
)


def ordered(
    found: "Found",
    texts: Mapping[Path, str],
    order: Order,
    given: Sequence[str] | None,
    renamed: Mapping[str, str],
) -> list[str]:
    """The classes of what was found in the order that is asked for; what that is, is noted.

    Raises DatasetError where a list of classes does not name each of them once.
    """
    own = sorted({sample.class_name for sample in found.samples})
    shown = {renamed.get(name, name) for name in own}
    if given is not None:
        return _as_given(given, shown)
    listed = dict(_listed(shown, own, texts, renamed))
    if order == "file":
        if not listed:
            raise DatasetError(
                "The archive has no file that names each class once.",
                "Add one, such as classes.txt with one class a line, or name the classes.",
            )
        path, names = next(iter(listed.items()))
        found.notes.append(f"Classes are in the order of {path}.")
        return names
    if found.order is not None:
        found.notes.append("Classes are in the order that the source itself gives them.")
        return [renamed.get(name, name) for name in found.order]
    by_code_point = [renamed.get(name, name) for name in own]
    natural = [renamed.get(name, name) for name in sorted(own, key=natural_key)]
    names = natural if order == "natural" else by_code_point
    if natural != by_code_point:
        other = "torchvision's ImageFolder" if order == "natural" else "natural order"
        mine = "natural order" if order == "natural" else "the order of torchvision's ImageFolder"
        found.notes.append(f"Classes are in {mine}; {other} sorts them otherwise.")
    for path, listing in listed.items():
        if listing != names:
            found.notes.append(
                f"{path} names the classes in another order: take it with “from a file”."
            )
    return names


def _as_given(names: Sequence[str], shown: set[str]) -> list[str]:
    wrong = sorted({*names} ^ shown)
    if wrong or len({*names}) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise DatasetError(
            f"The classes given are not those of the archive: {name_list(wrong or twice)}.",
            f"Name each once: {name_list(sorted(shown))}.",
        )
    return list(names)


def _listed(
    shown: set[str], own: Sequence[str], texts: Mapping[Path, str], renamed: Mapping[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """Files that name each class once, one a line, and the classes in their order."""
    for path, text in texts.items():
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not len(own) <= len(lines) <= len(own) + 1:  # a header may stand above
            continue
        if max(map(len, lines)) > _LONGEST_LINE:
            continue
        for names in (lines, lines[1:], *_without_numbers(lines)):
            spoken = [renamed.get(name, name) for name in names]
            if len(spoken) == len(shown) and {*spoken} == shown:
                yield "/".join(path), spoken
                break


def _without_numbers(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines such as `3 cat` or `cat,3`, by their numbers."""
    for pattern, number in zip(_NUMBERED, (1, 2), strict=True):
        found = [match for line in lines if (match := pattern.fullmatch(line))]
        found.sort(key=lambda match: int(match[number]))
        yield [match[3 - number] for match in found]


def in_order(listed: Sequence[str], used: set[str]) -> list[str]:
    """The names that are used, in the order of a list."""
    return [name for name in listed if name in used]


def name_numbers(found: "Found", texts: Mapping[Path, str]) -> None:
    """Classes that are numbers get the names of a list of classes; without one, that is said."""
    numbers = {sample.class_name for sample in found.samples}
    if not all(number.isdecimal() for number in numbers):
        return
    known = sorted(map(int, numbers))
    lists = (
        (path, listed)
        for path, listed in (*_lists_of_classes(texts, known), *_maps_of_numbers(texts, known[-1]))
        if all(int(number) in listed for number in numbers)
    )
    path, listed = next(lists, ((), {}))
    if not listed:
        text = "Labels are numbers, and no list names their classes: they are called by number."
        found.warnings.append(Weakness("unnamed_classes", text, len(numbers)))
        return
    found.samples = [s._replace(class_name=listed[int(s.class_name)]) for s in found.samples]
    names = [listed[number] for number in sorted(listed)]
    found.order = in_order(names, {sample.class_name for sample in found.samples})
    found.used.add(path)
    found.notes.append(
        f"Labels are numbers; their names are those listed: {printable(names[0])}, …"
    )


def _lists_of_classes(
    texts: Mapping[Path, str], known: Sequence[int]
) -> Iterator[tuple[Path, Mapping[int, str]]]:
    """The lines of texts that are called so, by number; where none comes twice: else they are of
    pictures. Without numbers of their own they count from 0 where `known`, sorted, do, or from 1
    where these end with the last line; else that is not known.
    """
    for path, text in texts.items():
        name, _, suffix = path[-1].lower().rpartition(".")
        if name in _LISTS and suffix == "txt":
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if len({*lines}) == len(lines):
                yield path, _numbered(lines) or _counted(lines, known)


def _counted(lines: Sequence[str], known: Sequence[int]) -> Mapping[int, str]:
    if known[0] == 0 or known[-1] == len(lines):
        return dict(enumerate(lines, min(known[0], 1)))
    return {}


def _maps_of_numbers(
    texts: Mapping[Path, str], most: int
) -> Iterator[tuple[Path, Mapping[int, str]]]:
    """Names of the numbers up to `most`, and of hardly more: else they are of pictures. In JSON
    (`{"0": "cat"}`, `{"cat": 0}`), in a table of two columns, and in EMNIST's mapping.
    """
    for path, text in texts.items():
        suffix = path[-1].lower().rpartition(".")[2]
        if path[-1].lower().endswith("-mapping.txt"):
            found = _characters(text)
        elif suffix == "json":
            found = _numbers_of_json(text)
        elif suffix == "csv":
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            found = _numbered(lines) or _numbered(lines[1:])
        else:
            continue
        if found and len(found) <= most + 2 and len({*found.values()}) == len(found):
            yield path, found


def _numbers_of_json(text: str) -> dict[int, str]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    pairs = list(body.items()) if isinstance(body, dict) else []
    if all(isinstance(value, int) for _, value in pairs):
        pairs = [(str(value), key) for key, value in pairs]
    if not all(isinstance(n, str) and isinstance(k, str) and k.isdecimal() for k, n in pairs):
        return {}
    return {int(key): name for key, name in pairs}


def _characters(text: str) -> dict[int, str]:
    """EMNIST's lines: a label, and the code of each character that it stands for."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not all(len(line) > 1 and all(w.isdecimal() and len(w) < 6 for w in line) for line in lines):
        return {}
    return {int(line[0]): "".join(chr(int(code)) for code in line[1:]) for line in lines}


def _numbered(lines: Sequence[str]) -> dict[int, str]:
    """Of lines such as `3 cat` or `cat,3`, which count from 0 or 1; empty where they do not."""
    if not lines or max(map(len, lines)) > _LONGEST_LINE:
        return {}
    for pattern, number in zip(_NUMBERED, (1, 2), strict=True):
        found = [match for line in lines if (match := pattern.fullmatch(line))]
        names = {int(match[number]): match[3 - number] for match in found}
        first = min(names, default=0)
        if first in (0, 1) and sorted(names) == [*range(first, first + len(lines))]:
            return names if len({*names.values()}) == len(names) else {}
    return {}


def spoken(names: Sequence[str], texts: Mapping[Path, str]) -> dict[str, str]:
    """Names for ids of WordNet (`n01443537`) by a file of the archive that has them all.

    Of several synonyms the first; two classes of one name keep their ids behind it.
    """
    if not names or not all(_WORDNET.fullmatch(name) for name in names):
        return {}
    for path, text in texts.items():
        known = dict(_words_of_json(text) if path[-1].lower().endswith("json") else _words(text))
        if all(name in known for name in names):
            words = {
                name: known[name].split(",")[0].strip().replace("_", " ")[:80] for name in names
            }
            counts = Counter(words.values())
            return {n: w if counts[w] == 1 else f"{w} ({n})" for n, w in words.items()}
    return {}


def _words(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        fields = line.strip().split(maxsplit=1)
        if len(fields) == 2 and _WORDNET.fullmatch(fields[0]):
            yield fields[0], fields[1]


def _words_of_json(text: str) -> Iterator[tuple[str, str]]:
    """`{"0": ["n01440764", "tench"]}`, or `{"n01440764": "tench"}`."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return
    pairs = [*body.items(), *body.values()] if isinstance(body, dict) else []
    for pair in pairs:
        two = isinstance(pair, (list, tuple)) and len(pair) == 2
        if two and all(isinstance(p, str) for p in pair) and _WORDNET.fullmatch(pair[0]):
            yield pair[0], pair[1]
