"""Whether files of many images are of one dataset, told from their names: those of two would be
joined, and one number stand for two classes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations, takewhile

from worker.data.errors import DatasetError
from worker.data.names import Path, printable
from worker.data.roles import named_part, own_words


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
    sets: dict[tuple[str, ...], dict[Hashable, str]] = {}
    classes: dict[tuple[str, ...], set[str]] = {}
    for number, ((path, stem), words) in enumerate(zip(names, folders, strict=True)):
        part = named_part(stem)
        own = words[common:] + (own_words(stem) if part is not None else ())
        by_folder = next((p for name in reversed(path) if (p := named_part(name))), None)
        shown = "/".join((*path, stem)).rstrip("/")
        sets.setdefault(own, {}).setdefault(part or by_folder, shown)
        if labels:
            classes.setdefault(own, set()).add(labels[number])
    for one, other in combinations(sets, 2):
        if _differ(one, other, sets) and (not labels or classes[one] & classes[other]):
            first, second = (next(iter(sets[each].values())) for each in (one, other))
            raise DatasetError(
                f"By their names, {what} are of several datasets: {printable(first)} and "
                f"{printable(second)}.",
                "Pack those of one; where they are of one, put them into one folder, and number "
                "them: train-0, train-1.",
            )


def _differ(
    one: tuple[str, ...],
    other: tuple[str, ...],
    sets: Mapping[tuple[str, ...], Mapping[Hashable, str]],
) -> bool:
    """Whether two names are of different datasets. Where one of them says nothing, they are where
    both have the same part: `extra` beside `train` is more of it."""
    return bool(one and other) or not sets[one].keys().isdisjoint(sets[other])
