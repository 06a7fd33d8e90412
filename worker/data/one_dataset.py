"""Whether files of many images are of one dataset, told from their names: those of two would be
joined, and one number stand for two classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import takewhile

from worker.data.errors import DatasetError
from worker.data.names import Path, printable
from worker.data.roles import named_part, own_words

_Own = tuple[str, ...]
"""What the name of a file says besides its part and what all names have in common."""


def check_one_dataset(
    names: Iterable[tuple[Path, str]], what: str = "files", *, labels: Sequence[str] = ()
) -> None:
    """Raise DatasetError where files are of several datasets, such as of two configurations.

    They are where the folders, or the names around the same part, say different things: `a/train`
    and `b/train`, `mnist-train` and `kmnist-test`. Shards that are numbered are of one.

    Args:
        names: the folders of each file, and what it is called itself, without suffix and numbers of
            shards; empty where that says nothing.
        what: what they are called in the message.
        labels: the class of each, where each has one: folders of other classes are no datasets.
    """
    names = list(names)
    folders = [tuple(word for name in path for word in own_words(name)) for path, _ in names]
    common = len(list(takewhile(lambda words: len({*words}) == 1, zip(*folders, strict=False))))
    sets: dict[_Own, dict[Hashable, str]] = {}
    by_class: dict[str, dict[_Own, None]] = {}
    for number, ((path, stem), words) in enumerate(zip(names, folders, strict=True)):
        part = named_part(stem)
        own = words[common:] + (own_words(stem) if part is not None else ())
        by_folder = next((p for name in reversed(path) if (p := named_part(name))), None)
        shown = "/".join((*path, stem)).rstrip("/")
        sets.setdefault(own, {}).setdefault(part or by_folder, shown)
        by_class.setdefault(labels[number] if labels else "", {})[own] = None
    for owns in by_class.values():
        if two := _of_two(list(owns), sets):
            first, second = (next(iter(sets[each].values())) for each in two)
            raise DatasetError(
                f"By their names, {what} are of several datasets: {printable(first)} and "
                f"{printable(second)}.",
                "Pack those of one; where they are of one, put them into one folder, and number "
                "them: train-0, train-1.",
            )


def _of_two(owns: Sequence[_Own], sets: Mapping[_Own, Mapping[Hashable, str]]) -> Sequence[_Own]:
    """Two names that are of different datasets, if there are. Where one of them says nothing, they
    are where both have the same part: `extra` beside `train` is more of it."""
    said = [own for own in owns if own]
    if len(said) > 1:
        return said[:2]
    shared = len(owns) > 1 and not sets[owns[0]].keys().isdisjoint(sets[owns[1]])
    return owns if shared else ()
