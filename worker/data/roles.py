"""What part of a dataset a folder or a file holds, told from its name."""

import re
from enum import StrEnum


class Part(StrEnum):
    """A part of a dataset, or pictures without labels."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    UNLABELLED = "unlabelled"


_WORDS = {
    Part.TRAIN: ("train", "training", "trn", "trainval"),
    Part.VALIDATION: ("val", "valid", "validation", "dev", "vld"),
    Part.TEST: ("test", "testing", "tst", "eval", "evaluation", "holdout"),
    Part.UNLABELLED: (
        "pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "unsup",
    ),
}  # fmt: skip
_PART_OF = {word: part for part, words in _WORDS.items() for word in words}
_FILLERS = (
    "set", "sets", "data", "dataset", "datasets", "db", "image", "images", "img", "imgs", "pic",
    "pics", "picture", "pictures", "photo", "photos", "sample", "samples", "folder", "dir", "split",
    "part", "seg", "x", "the", "cropped", "final", "new", "full", "original", "batch", "of",
)  # fmt: skip
"""Words beside one of these that say nothing of their own, as in `seg_train` or `test_set_2`."""
_OF_A_SERIES = (
    "shard", "shards", "chunk", "chunks", "file", "files", "label", "labels", "target", "targets",
    "annotation", "annotations", "parquet", "arrays",
)  # fmt: skip
"""Words that files of one dataset are called by and numbered."""
_GLUED = re.compile(f"({'|'.join(_PART_OF)})(?:set|data|dataset|images|imgs)")


def part_of(name: str) -> Part | None:
    """The part that a name says and nothing else: `Training`, `seg_train`, `testset`, `val2017`."""
    parts, rest = _read(name)
    return parts[0] if len(parts) == 1 and not rest else None


def part_and_rest(name: str) -> tuple[Part, str] | None:
    """The part that a name begins or ends with, and the rest: `asl_alphabet_train`."""
    words = _words(name)
    parts, rest = _read(name)
    ends = words and (_part(words[0]) or _part(words[-1]))
    return (parts[0], " ".join(rest)) if ends and len(parts) == 1 and rest else None


def named_part(name: str) -> Part | None:
    """The part that a name says, alone or at one of its ends."""
    said = part_and_rest(name)
    return part_of(name) or (said[0] if said else None)


def own_words(name: str) -> tuple[str, ...]:
    """What a name says of its own: neither a part, nor what all such files are called, nor a number
    of a series; `cifar10_train_3` has `cifar` and `10`."""
    kept: list[str] = []
    before = ""
    for word in _words(name):
        if word.isdigit():
            kept += [word] if kept and before == kept[-1] else []
        elif _part(word) is None and word not in _FILLERS + _OF_A_SERIES:
            kept.append(word)
        before = word
    return tuple(kept)


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    return re.findall(r"[^\W\d_]+|\d+", apart)


def _part(word: str) -> Part | None:
    glued = _GLUED.fullmatch(word)
    return _PART_OF.get(glued[1] if glued else word)


def _read(name: str) -> tuple[list[Part], list[str]]:
    """The parts that a name speaks of, and the words that mean something else."""
    parts, rest = [], []
    for word in _words(name):
        found = _part(word)
        if found is not None:
            parts.append(found)
        elif word not in _FILLERS and not word.isdigit():
            rest.append(word)
    return parts, rest
