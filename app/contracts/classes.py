"""Classes of two sources, held against each other by name."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_SEPARATORS = re.compile(r"[\s_-]+")


def places(wanted: Sequence[str], among: Sequence[str]) -> tuple[int, ...] | None:
    """Where each of `wanted` stands among other names; None where one is missing or not unique.

    A name that is not there letter by letter is looked for without regard to case, to the way its
    accents are encoded, and to spaces, `_` and `-`.
    """
    exact = _unique(among)
    if all(name in exact for name in wanted):
        return tuple(exact[name] for name in wanted)
    loose = _unique([_plain(name) for name in among])
    found = tuple(loose.get(_plain(name), -1) for name in wanted)
    return None if -1 in found or len(set(found)) < len(found) else found


def _unique(names: Sequence[str]) -> dict[str, int]:
    """The places of names that stand there once."""
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _plain(name: str) -> str:
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFC", name).casefold()).strip()
