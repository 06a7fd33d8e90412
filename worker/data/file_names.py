"""What the names of files say of pictures: classes (`cat.0.jpg`, `dog_12.png`, `19_frog.png`), and
that they are masks of others (`cat.0_mask.jpg`)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from worker.data.members import Member

_WAYS = (
    re.compile(r"(.*[^\W\d_])[\W_]*\d+\W*"),
    re.compile(r"\d+[\W_]+([^\W\d_].*)"),
)
"""A name, then a number; or a number, then a name."""
_FEWEST, _MANY = 3, 4
"""Images of each class, and images a class on average: fewer are names of single pictures."""
_OF_CAMERAS = frozenset(
    {"img", "image", "images", "dsc", "dscn", "dscf", "pic", "pics", "photo", "picture", "frame",
     "scan", "screenshot", "p", "pxl", "vid", "video", "file", "sample", "data", "train",
     "training", "val", "valid", "validation", "test", "testing", "x"}
)  # fmt: skip
"""What pictures of any kind are called."""


_OF_ANOTHER = re.compile(
    r"(.+)[\W_](?:mask|seg|segmentation|gt|groundtruth|annotation|depth)(?:[\W_]?\d+)?",
    re.IGNORECASE,
)
"""The name of a picture, and what a mask of it is called."""


def masks_of_others(pictures: Sequence[Member]) -> list[Member]:
    """Those that lie beside the picture whose name theirs begins with."""
    stems = [(*p.path[:-1], p.path[-1].rpartition(".")[0]) for p in pictures]
    there = set(stems)
    matches = ((p, s, _OF_ANOTHER.fullmatch(s[-1])) for p, s in zip(pictures, stems, strict=True))
    return [p for p, stem, match in matches if match and (*stem[:-1], match[1]) in there]


def classes_in_names(pictures: Sequence[Member]) -> dict[int, str]:
    """The class of each picture by its ordinal, where all names are of one form and tell at least
    two classes apart; else nothing. A guess, which is to be said.
    """
    stems = [(p.ordinal, p.path[-1].rpartition(".")[0]) for p in pictures]
    for way in _WAYS:
        found = {o: match[1] for o, stem in stems if (match := way.fullmatch(stem))}
        counts = Counter(found.values())
        if (
            len(found) == len(pictures)
            and 2 <= len(counts) <= len(pictures) / _MANY
            and min(counts.values()) >= _FEWEST
            and not any(name.casefold().strip(" _-.") in _OF_CAMERAS for name in counts)
        ):
            return found
    return {}
