"""WebDataset: a tar of samples, each a picture and a label that share their name up to the dot."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping

from worker.data.classes import name_numbers
from worker.data.errors import DatasetError
from worker.data.layout import Contents, Found, Sample
from worker.data.members import Member
from worker.data.names import name_list
from worker.data.roles import named_part
from worker.data.rows import NO_LABEL

_LABELS = ("cls", "json", "txt", "label")
_LONGEST = 4096  # bytes of a label
_KEYS = ("label", "cls", "class", "target", "class_id", "label_id")
_MOST = 0.5


def webdataset(contents: Contents) -> Found | None:
    """Samples such as 000017.jpg and 000017.cls; `.json` and `.txt` hold labels too.

    Raises DatasetError where labels cannot be read.
    """
    labels = _label_files(contents)
    if labels is None:
        return None
    texts = {}
    for ordinal, data in contents.read({m.ordinal: m.ordinal for m in labels.values()}):
        if isinstance(data, bytes):
            texts[ordinal] = data
    found = Found("WebDataset samples", [])
    seen, nothing = set(), set[str]()
    for picture in sorted(contents.pictures, key=lambda p: p.path[-1].count(".")):
        key = _key(picture)
        member = labels.get(key)
        label = "" if member is None else _label(texts.get(member.ordinal, b""), member)
        if label.casefold() in NO_LABEL:
            nothing |= {label} - {""}
            label = ""
        if not label or key in seen:
            why = "samples without a label" if not label else "further pictures of a sample"
            found.left_out[why] += 1
            continue
        seen.add(key)
        part = next((p for name in picture.path[:-1] if (p := named_part(name)) is not None), None)
        found.samples.append(Sample(picture.ordinal, "/".join(picture.path), label, part))
    if found.samples and len({s.class_name for s in found.samples}) > len(found.samples) / 2:
        return None  # captions
    if not found.samples:
        raise DatasetError(
            "No sample's label can be read.",
            "A .cls holds a number or a name; a .json has a field label.",
        )
    if nothing:
        found.notes.append(f"Taken for no label: {name_list(sorted(nothing))}.")
    name_numbers(found, contents.texts)
    return found


def _label_files(contents: Contents) -> Mapping[tuple[str, ...], Member] | None:
    """By key, of the first suffix that labels most pictures."""
    keys = {_key(picture) for picture in contents.pictures}
    by_suffix: dict[str, dict[tuple[str, ...], Member]] = defaultdict(dict)
    for member in contents.others:
        suffix = member.path[-1].lower().partition(".")[2]
        if suffix in _LABELS and _key(member) in keys and member.size <= _LONGEST:
            by_suffix[suffix][_key(member)] = member
    places = {key[:-1] for key in keys if not any(named_part(name) for name in key[:-1])}
    # Beside pictures in class folders, a text may say anything.
    for suffix in _LABELS if len(places) <= 1 else ("cls",):
        if keys and len(by_suffix[suffix]) >= _MOST * len(keys):
            return by_suffix[suffix]
    return None


def _key(member: Member) -> tuple[str, ...]:
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
