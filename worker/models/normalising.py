"""What files call a normalisation of images."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

_WHOSE = r"_?(?P<whose>(new|pixel|channel|image|img|input|data|dataset|norm|normali[sz]e)_)?"
_MEAN = re.compile(_WHOSE + "(means?|mu)")
_STD = re.compile(_WHOSE + "(stds?|sigmas?|sd)")


class Pair(NamedTuple):
    """The names of a mean and of a standard deviation that belong together."""

    mean: str
    std: str


class Half(NamedTuple):
    """One that stands alone."""

    name: str
    lacks: str
    """What the other would be: `mean` or `std`."""


def names_one(name: str) -> bool:
    """Whether something is called like a mean or a standard deviation of images."""
    return any(kind.fullmatch(name) for kind in (_MEAN, _STD))


def normalisations(
    shapes: Mapping[str, tuple[int, ...]], taken: Collection[str]
) -> tuple[tuple[Pair, ...], tuple[Half, ...]]:
    """The normalisations in a file, in whatever shape of one or three channels.

    Args:
        shapes: of every tensor in the file.
        taken: names of other weights.
    """
    other = set(taken)
    means, stds = (
        {
            (parent, found["whose"]): name
            for name in shapes
            if name not in other and _is_of_channels(shapes[name])
            for parent, last in [_parted(name)]
            if (found := kind.fullmatch(last)) is not None
        }
        for kind in (_MEAN, _STD)
    )
    pairs = tuple(Pair(means[key], stds[key]) for key in means if key in stds)
    halves = [Half(name, "std") for key, name in means.items() if key not in stds]
    halves += [Half(name, "mean") for key, name in stds.items() if key not in means]
    return pairs, tuple(halves)


def _parted(name: str) -> tuple[str, str]:
    parent, _, last = name.rpartition(".")
    return parent, last


def _is_of_channels(shape: tuple[int, ...]) -> bool:
    """One number, three, or an image of these."""
    return math.prod(shape) in (1, 3) or (3 <= len(shape) <= 4 and 3 in (shape[0], shape[1]))
