"""Classes of two sources, held against each other by name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[\s_-]+")


def places(wanted: Sequence[str], among: Sequence[str]) -> tuple[int, ...] | None:
    """Where each of `wanted` stands among other names; None where one is missing or not unique, or
    two stand at one place.

    Where one of them is not there letter by letter, all are looked for without regard to case, to
    the way accents are encoded, and to spaces, `_` and `-`.
    """
    found = _found(wanted, among)
    return None if -1 in found or len(set(found)) < len(found) else tuple(found)


def missing(wanted: Sequence[str], among: Sequence[str]) -> list[str]:
    """Those of `wanted` that `places` does not find, or finds several times; none where it finds
    two of them at one place.
    """
    found = _found(wanted, among)
    return [name for name, place in zip(wanted, found, strict=True) if place == -1]


def _found(wanted: Sequence[str], among: Sequence[str]) -> list[int]:
    """-1 for what is missing or not unique."""
    exact = _unique(among)
    if all(name in exact for name in wanted):
        return [exact[name] for name in wanted]
    loose = _unique([_plain(name) for name in among])
    return [loose.get(_plain(name), -1) for name in wanted]


def _unique(names: Sequence[str]) -> dict[str, int]:
    """The places of names that stand there once."""
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFC", name).casefold()).strip()
