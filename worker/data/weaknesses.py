"""What weakens a dataset: what makes figures measured on it say less than they seem to.

Every check looks at each picture a fixed number of times, however many there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FEW_TRAIN, FEW_TEST = 20, 10
"""Images a class below which it is said: a rate of ten images has an interval of 50 points."""
UNBALANCED = 10
"""How many times the smallest class the largest one is, from which on it is said."""
NEAR_BITS = 3
"""Of 64 bits of a difference hash that may differ between near duplicates."""
NEAR_LEVELS = 6.0
"""Mean difference of near duplicates, in grey levels of 255."""
_DARK = 16
"""Grey levels of 255 that hardly any photograph stays below."""
_BANDS, _NEIGHBOURS = 4, 8
_BLOCK = 2048


@dataclass(frozen=True)
class Weakness:
    """One of them: `kind` for programs, `text` for people, and how many images or classes."""

    kind: str
    text: str
    count: int = 0


class Images(NamedTuple):
    """A part of a dataset: rows (N,) of pixels (M, S, S, 3), and the labels (N,) of these rows."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


def weaknesses(
    class_names: Sequence[str], train: Images, test: Images, check: Callable[[], None]
) -> list[Weakness]:
    """Of both parts, the validation images among those to train on; `check` is called often."""
    prints = _fingerprints(train, check), _fingerprints(test, check)
    found = list(_twins((train, test), prints))
    brightest = max(each.brightest for each in prints)
    if brightest < _DARK:
        text = (
            f"No pixel is brighter than {brightest} of 255: numbers from 0 to 1, or the classes of "
            "pixels, may have been written as bytes."
        )
        found.append(Weakness("dark", text, sum(len(each.plain) for each in prints)))
    found += _counts(class_names, train.labels, "training", FEW_TRAIN)
    found += _counts(class_names, test.labels, "test", FEW_TEST)
    return found


@dataclass(frozen=True)
class _Prints:
    exact: NDArray[Any]  # (N,) 16 bytes
    bits: NDArray[np.uint64]  # (N,) difference hash
    plain: NDArray[np.bool_]  # (N,) of one colour
    brightest: int


def _fingerprints(part: Images, check: Callable[[], None]) -> _Prints:
    count = len(part.rows)
    exact, bits = np.empty(count, dtype="V16"), np.empty(count, dtype=np.uint64)
    plain, brightest = np.empty(count, dtype=bool), 0
    for start in range(0, count, _BLOCK):
        check()
        block = np.ascontiguousarray(part.pixels[part.rows[start : start + _BLOCK]])
        here = slice(start, start + len(block))
        exact[here] = [np.void(blake2b(image.data, digest_size=16).digest()) for image in block]
        bits[here] = difference_hash(block)
        plain[here] = (block == block[:, :1, :1]).all(axis=(1, 2, 3))
        brightest = max(brightest, int(block.max()))
    return _Prints(exact, bits, plain, brightest)


def difference_hash(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,) 64 bits: whether grey rises to the right between 9 columns in 8 rows (Krawetz, 2013)."""
    grey = images.mean(axis=-1, dtype=np.float32)  # (N, S, S)
    rows = _averaged(grey, 8, axis=1)
    small = _averaged(rows, 9, axis=2)  # (N, 8, 9)
    rises = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(images), 64)
    return np.packbits(rises, axis=1).view(np.uint64)[:, 0]


def _averaged(values: NDArray[np.float32], parts: int, axis: int) -> NDArray[np.float32]:
    edges = np.linspace(0, values.shape[axis], parts + 1).round().astype(int)
    pieces = [values.take(range(a, b), axis=axis).mean(axis=axis) for a, b in pairwise(edges)]
    return np.stack(pieces, axis=axis)


def _twins(parts: tuple[Images, Images], prints: tuple[_Prints, _Prints]) -> Iterator[Weakness]:
    """Pictures that are there more than once."""
    train, test = prints
    leaked = np.isin(test.exact, train.exact)
    near = _near(prints, parts) & ~leaked
    for kind, these, what in (
        ("test_in_train", leaked, "are also training images, pixel by pixel"),
        ("test_nearly_in_train", near, "are nearly the same as a training image"),
    ):
        if these.any():
            yield _share(kind, int(these.sum()), len(these), f"test images {what}")
    for name, each in (("training", train), ("test", test)):
        again, plain = len(each.exact) - len(np.unique(each.exact)), int(each.plain.sum())
        if again:
            what = f"{name} images repeat another one, pixel by pixel"
            yield _share(f"{name}_duplicates", again, len(each.exact), what)
        if plain:
            what = f"{name} images are of one colour"
            yield _share(f"{name}_plain", plain, len(each.plain), what)
    labels = np.concatenate([part.labels for part in parts])
    torn = _of_several_classes(np.concatenate([train.exact, test.exact]), labels)
    if torn:
        text = f"Pictures that are in the dataset under more than one class: {torn:,}."
        yield Weakness("several_labels", text, torn)


def _share(kind: str, count: int, of: int, what: str) -> Weakness:
    return Weakness(kind, f"{count:,} of {of:,} {what}.", count)


def _of_several_classes(exact: NDArray[Any], labels: NDArray[np.int64]) -> int:
    """How many different pictures have more than one label."""
    order = np.lexsort((labels, np.unique(exact, return_inverse=True)[1]))
    exact, labels = exact[order], labels[order]
    torn = (exact[1:] == exact[:-1]) & (labels[1:] != labels[:-1])
    return len(np.unique(exact[1:][torn]))


def _near(prints: tuple[_Prints, _Prints], parts: tuple[Images, Images]) -> NDArray[np.bool_]:
    """(M,) test images with a training image that is nearly the same.

    Hashes of up to three other bits agree in one of four bands of 16. Sorted by a band, such images
    are neighbours; each is held against the next few, so that no crowd costs more than its size.
    """
    train, test = prints
    count = len(train.bits)
    bits = np.concatenate([train.bits, test.bits])
    plain = np.concatenate([train.plain, test.plain])
    # Among images of one hash, those of both parts are mixed: neighbours are then of either.
    mixed = np.random.default_rng(0).permutation(len(bits))
    pairs = set()
    for band in range(_BANDS):
        turned = bits << np.uint64(16 * band) | bits >> np.uint64(64 - 16 * band) if band else bits
        order = np.lexsort((mixed, turned))
        for step in range(1, _NEIGHBOURS + 1):
            one, other = order[:-step], order[step:]
            across = ((one < count) != (other < count)) & ~plain[one] & ~plain[other]
            alike = across & (np.bitwise_count(bits[one] ^ bits[other]) <= NEAR_BITS)
            low, high = np.minimum(one, other)[alike], np.maximum(one, other)[alike]
            pairs |= set(zip(low.tolist(), (high - count).tolist(), strict=True))
    near = np.zeros(len(test.bits), dtype=bool)
    for mine, theirs in pairs:
        if not near[theirs]:
            one = parts[0].pixels[parts[0].rows[mine]]
            other = parts[1].pixels[parts[1].rows[theirs]]
            apart = np.abs(one.astype(np.int16) - other)
            near[theirs] = apart.mean() <= NEAR_LEVELS
    return near


def _counts(
    class_names: Sequence[str], labels: NDArray[np.int64], part: str, few: int
) -> Iterator[Weakness]:
    if not len(labels):
        return
    counts = np.bincount(labels, minlength=len(class_names))
    small = np.flatnonzero((counts < few) & (counts > 0))
    if len(small):
        named = ", ".join(f"{class_names[c]} ({counts[c]:,})" for c in small[:5])
        more = f" and {len(small) - 5:,} more" if len(small) > 5 else ""
        yield Weakness(
            f"few_{part}",
            f"Classes with fewer than {few} {part} images: {named}{more}.",
            len(small),
        )
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= UNBALANCED * max(1, counts[least]):
        yield Weakness(
            f"unbalanced_{part}",
            f"Classes differ much in {part} images: {class_names[most]} has {counts[most]:,}, "
            f"{class_names[least]} {counts[least]:,}.",
            int(counts[most] // max(1, counts[least])),
        )
