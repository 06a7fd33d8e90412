"""What files call a normalisation of images."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

_WHOSE = r"_?(?P<whose>(new|pixel|channel|image|img|input|data|dataset|norm|normali[sz]e)_)?"
_MEAN = re.compile(_WHOSE + "(means?|mu)")
_STD = re.compile(_WHOSE + "(stds?|sigmas?|sd)")
_VAR = re.compile(_WHOSE + "(vars?|variances?)")
_KINDS = {"mean": _MEAN, "std": _STD, "var": _VAR}


class Pair(NamedTuple):
    """The names of a mean and of a standard deviation that belong together."""

    mean: str
    std: str
    squared: bool = False
    """Whether `std` is the name of a variance."""


class Half(NamedTuple):
    """One that stands alone."""

    name: str
    lacks: str
    """What the other would be: `mean` or `std`."""


class Read(NamedTuple):
    """What a name says."""

    what: str
    """`mean`, `std` or `var`."""
    whose: str | None


def read_name(name: str) -> Read | None:
    """What something is that is called like a mean, a standard deviation or a variance of images;
    None where it is not called so."""
    matches = ((what, kind.fullmatch(name)) for what, kind in _KINDS.items())
    return next((Read(what, found["whose"]) for what, found in matches if found), None)


def normalisations(
    shapes: Mapping[str, tuple[int, ...]], taken: Collection[str]
) -> tuple[tuple[Pair, ...], tuple[Half, ...]]:
    """The normalisations in a file, in whatever shape of one or three channels.

    Args:
        shapes: of every tensor in the file.
        taken: names of other weights.
    """
    other = set(taken)
    found: dict[str, dict[tuple[str, str | None], str]] = {what: {} for what in _KINDS}
    for name in shapes:
        parent, _, last = name.rpartition(".")
        read = read_name(last)
        if read is not None and name not in other and _is_of_channels(shapes[name]):
            found[read.what][parent, read.whose] = name
    means, stds, variances = found.values()
    pairs = [Pair(means[key], stds[key]) for key in means if key in stds]
    pairs += [Pair(means[key], variances[key], True) for key in means if key in variances]
    halves = [Half(n, "std") for key, n in means.items() if key not in {*stds, *variances}]
    halves += [Half(n, "mean") for of in (stds, variances) for key, n in of.items()
               if key not in means]  # fmt: skip
    return tuple(pairs), tuple(halves)


def _is_of_channels(shape: tuple[int, ...]) -> bool:
    """One number, three, or an image of these."""
    return math.prod(shape) in (1, 3) or (3 <= len(shape) <= 4 and 3 in (shape[0], shape[1]))
