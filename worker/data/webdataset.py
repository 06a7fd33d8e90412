"""WebDataset: a tar of samples, each a picture and a label that share their name up to the dot."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from worker.data.classes import name_numbers
from worker.data.errors import DatasetError
from worker.data.layout import Contents, Found, Sample
from worker.data.members import Member
from worker.data.names import name_list, printable
from worker.data.one_dataset import check_one_dataset
from worker.data.roles import named_part
from worker.data.rows import NO_LABEL
from worker.data.weaknesses import Weakness

_LABELS = ("cls", "json", "txt", "label")
_LONGEST, _LONGEST_JSON = 4096, 2**16  # bytes of a label, and of what has one in it
_KEYS = ("label", "cls", "class", "target", "class_id", "label_id")
_MOST = 0.5
Key = tuple[str, ...]
"""Of a sample: its folders, and its name up to the dot."""


def webdataset(contents: Contents) -> Found | None:
    """Samples such as 000017.jpg and 000017.cls; `.json` and `.txt` hold labels too.

    Raises DatasetError where labels cannot be read.
    """
    by_suffix = _label_files(contents)
    if not by_suffix:
        return None
    labels, *others = _read(contents, by_suffix)
    found = Found("WebDataset samples", [])
    told, nothing = dict[Key, str](), set[str]()
    for picture in sorted(contents.pictures, key=lambda p: p.path[-1].count(".")):
        key = _key(picture)
        label = labels.get(key, "")
        if label.casefold() in NO_LABEL:
            nothing |= {label} - {""}
            label = ""
        if not label or key in told:
            why = "samples without a label" if not label else "further pictures of a sample"
            found.left_out[why] += 1
            continue
        told[key] = label
        part = next((p for name in picture.path[:-1] if (p := named_part(name)) is not None), None)
        found.samples.append(Sample(picture.ordinal, "/".join(picture.path), label, part))
    if found.samples and len({s.class_name for s in found.samples}) > len(found.samples) / 2:
        return None  # captions
    if not found.samples:
        raise DatasetError(
            "No sample's label can be read.",
            "A .cls holds a number or a name; a .json has a field label.",
        )
    paths = [tuple(sample.name.split("/")[:-1]) for sample in found.samples]
    labelled = [sample.class_name for sample in found.samples]
    check_one_dataset(((path, "") for path in paths), "samples", labels=labelled)
    if nothing:
        found.notes.append(f"Taken for no label: {name_list(sorted(nothing))}.")
    (first, *_), *rest = (tuple(each.values()) for each in by_suffix)
    for other, (member, *_) in zip(others, rest, strict=True):
        _compare(found, told, other, tuple(_suffix(m) for m in (first, member)))
    name_numbers(found, contents.texts)
    return found


def _label_files(contents: Contents) -> list[Mapping[Key, Member]]:
    """By key, those of the first suffix that labels most pictures, and of the suffixes behind it;
    nothing where there is none."""
    keys = {_key(picture) for picture in contents.pictures}
    by_suffix: dict[str, dict[Key, Member]] = defaultdict(dict)
    for member in contents.others:
        suffix = _suffix(member)
        most = _LONGEST_JSON if suffix == "json" else _LONGEST
        if suffix in _LABELS and _key(member) in keys and member.size <= most:
            by_suffix[suffix][_key(member)] = member
    places = {key[:-1] for key in keys if not any(named_part(name) for name in key[:-1])}
    # Beside pictures in class folders, a text may say anything.
    for at, suffix in enumerate(_LABELS if len(places) <= 1 else ("cls",)):
        if keys and len(by_suffix[suffix]) >= _MOST * len(keys):
            return [by_suffix[each] for each in _LABELS[at:] if by_suffix[each]]
    return []


def _read(contents: Contents, by_suffix: Sequence[Mapping[Key, Member]]) -> list[dict[Key, str]]:
    """What each file says, as a label; empty where that is none."""
    members = {m.ordinal: (at, m) for at, each in enumerate(by_suffix) for m in each.values()}
    found: list[dict[Key, str]] = [{} for _ in by_suffix]
    for ordinal, data in contents.read({ordinal: ordinal for ordinal in members}):
        if isinstance(data, bytes):
            at, member = members[ordinal]
            found[at][_key(member)] = _label(data, member)
    return found


def _compare(
    found: Found, told: Mapping[Key, str], said: Mapping[Key, str], suffixes: tuple[str, ...]
) -> None:
    """What a second file of each sample says of its class. Of numbers it may have the names.

    Raises DatasetError where it contradicts the first one.
    """
    both = {k: (told[k], label) for k, label in said.items()
            if k in told and label.casefold() not in NO_LABEL}  # fmt: skip
    wrong = [key for key, (one, other) in both.items() if one != other]
    if not wrong:
        return
    pairs = {*both.values()}
    ones, others = ({pair[side] for pair in pairs} for side in (0, 1))
    is_named, is_finer = (len(pairs) == len(of) for of in (ones, others))
    same_words = others <= {*told.values()}
    if not same_words and suffixes[1] != "json":
        return  # captions
    if same_words or not (is_named or is_finer):
        one, other = both[wrong[0]]
        raise DatasetError(
            f"In {len(wrong):,} of {len(both):,} samples two labels contradict one another: "
            f"{printable('/'.join(wrong[0]))}.{suffixes[0]} says {printable(one)}, "
            f".{suffixes[1]} {printable(other)}.",
            f"Correct one of them, or leave the .{suffixes[1]} out.",
        )
    if not (is_named and is_finer):
        text = (
            f"The .{suffixes[1]} has other labels than the .{suffixes[0]}, which is taken: "
            f"{name_list(sorted(others))}."
        )
        found.warnings.append(Weakness("labels_guessed", text, len(wrong)))
    elif all(one.isdecimal() for one in ones) and {*told.values()} == ones:
        names = dict(pairs)
        ordered = [names[one] for one in sorted(ones, key=int)]
        if all(name.isdecimal() for name in ordered):
            text = (
                f"The .{suffixes[1]} numbers the classes otherwise: {ordered[0]} where the "
                f".{suffixes[0]} says {min(ones, key=int)}; that one is taken."
            )
            found.warnings.append(Weakness("labels_guessed", text, len(wrong)))
            return
        found.samples = [s._replace(class_name=names[s.class_name]) for s in found.samples]
        found.order = ordered
        found.notes.append(f"Labels are numbers; the .{suffixes[1]} names them: {ordered[0]}, …")


def _suffix(member: Member) -> str:
    return member.path[-1].lower().partition(".")[2]


def _key(member: Member) -> Key:
    return (*member.path[:-1], member.path[-1].partition(".")[0])


def _label(data: bytes, member: Member) -> str:
    text = data.decode("utf-8", "replace").strip()
    if not member.path[-1].lower().endswith("json"):
        return text if len(text.splitlines()) == 1 else ""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(body, dict):
        return ""
    value = next((body[key] for key in _KEYS if key in body), "")
    return str(value) if isinstance(value, (str, int)) else ""
