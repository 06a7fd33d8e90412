"""Whose weights a file holds: its names against those of a network, and what does not match.

Training code wraps networks: every name of a wrapped one begins alike, a normalisation stands
beside it, an average of its weights or a copy for the attack follows. So the beginning is looked
for under which the file has all of the network's names, whatever it is.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worker.models.normalising import Half, Pair, normalisations

TOP = "."
"""What a network is called whose names have no beginning, or the one at the top of a file."""
_NORMALISATION = ("mean", "std")
_OPTIONAL = "num_batches_tracked"
_LEFT_OUT = re.compile(
    r"(.*\.)?(num_batches_tracked|n_averaged|num_updates|updates|(global_)?steps?|epochs?"
    r"|iterations?|counter|initted|decay)|(optim|optimi[sz]er)(_state)?s?\..*"
)
"""Counters of trainings and of averages, and the state of an optimiser."""
_NAMED, _IN_SHORT = 20, 3

_FLATTENED = "pre_logits."
"""Where timm has a convolution as large as its map, torchvision a linear layer of the flat map: the
same numbers in the same order."""

Shape = tuple[int, ...]


class SeveralNetworks(ValueError):
    """A file holds several, and nothing says which is meant; `names` are what to choose among."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"several networks: {', '.join(names)}")
        self.names = tuple(names)


class Mismatch(ValueError):
    """The file's weights are not the network's.

    Attributes:
        missing: weights of the network that the file lacks, by their published names.
        unexpected: weights of the file that the network lacks.
        shapes: weights of both that differ in shape: "fc.weight is 10 x 128, not 10 x 64".
    """

    def __init__(
        self, missing: Sequence[str], unexpected: Sequence[str], shapes: Sequence[str]
    ) -> None:
        self.missing, self.unexpected, self.shapes = missing, unexpected, shapes
        super().__init__("; ".join(self.lists(_IN_SHORT)))

    def lists(self, most: int = _NAMED) -> list[str]:
        """A line for each kind of difference, with its first `most` names and their count."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.shapes,
        }
        return [listed(what, names, most) for what, names in kinds.items() if names]


@dataclass(frozen=True)
class Match:
    """A network found in a file."""

    names: Mapping[str, str]
    """The name in the file of each weight of the network that the file has."""
    prefix: str
    """How the names in the file begin, with the last dot; empty where they do not."""
    outputs: int
    """Of the file's head."""
    pairs: tuple[Pair, ...]
    """Normalisations in the file."""
    halves: tuple[Half, ...]
    """Means without a standard deviation, or the other way round."""
    left_out: tuple[str, ...]
    """Names in the file that are no weights of the network, such as counters."""
    copies: tuple[str, ...]
    """How the names of the network's copies in the file begin."""


def listed(what: str, names: Sequence[str], most: int = _NAMED) -> str:
    """`3 missing: a, b, c`; the first `most` of them by name, each cut short and printable."""
    named = ", ".join(shown(name) for name in names[:most])
    return f"{len(names):,} {what}: {named}{', …' if len(names) > most else ''}"


def shown(name: str) -> str:
    """A name from a file as a message may hold it."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return plain if len(plain) <= 80 else f"{plain[:79]}…"


class Named(Protocol):
    """A network whose weights are looked for: a `Classifier`, or the outline of one."""

    @property
    def unused(self) -> tuple[str, ...]: ...

    def state_dict(self) -> Mapping[str, Tensor]: ...

    def namings(self) -> Sequence[Mapping[str, str]]: ...


def match(
    model: Named,
    shapes: Mapping[str, Shape],
    *,
    within: str = "",
    same: Callable[[str, str], bool] = lambda name, other: False,
) -> Match:
    """Find the weights of `model` in a file, whatever the number of its outputs.

    The file may use the names of `model` or published ones of its network. It may lack the
    normalisation, and batch norm's counters of batches.

    Args:
        shapes: of every tensor in the file, by its name.
        within: how the names of the network begin that is meant, without the last dot.
        same: whether two tensors of the file are equal.

    Raises:
        Mismatch: a weight is missing, unexpected or of another shape.
        SeveralNetworks: the file has the network more than once, with other weights.
    """
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    naming = max(
        (_Naming(of, model.unused, shapes, within) for of in model.namings()),
        key=lambda of: of.reach,
    )
    found, copies = naming.network(same)
    pairs, halves = normalisations(shapes, taken=found.values())
    normalising = {
        *(name for pair in pairs for name in (pair.mean, pair.std)),
        *(half.name for half in halves),
    }
    known = {*found.values(), *normalising}
    rest = [name for name in shapes if name not in known]
    left_out: list[str] = []
    unexpected: list[str] = []
    for name in rest:
        if not name.startswith(copies):
            (left_out if naming.leaves_out(name) else unexpected).append(name)
    missing = [
        naming.of.get(ours, ours)
        for ours in state
        if ours not in found and not _may_be_missing(ours)
    ]
    wrong = [
        f"{shown(theirs)} is {_size(shapes[theirs])}, not {_size(state[ours])}"
        for ours, theirs in found.items()
        if not _fits(ours, shapes[theirs], state[ours])
    ]
    if missing or unexpected or wrong:
        raise Mismatch(missing, unexpected, wrong)
    return Match(
        names=found,
        prefix=naming.prefix,
        outputs=shapes[found["head.weight"]][0],
        pairs=pairs,
        halves=halves,
        left_out=tuple(left_out),
        copies=copies,
    )


class _Naming:
    """One way to name the network's weights, as far as a file follows it."""

    def __init__(
        self,
        of: Mapping[str, str],
        unused: tuple[str, ...],
        shapes: Mapping[str, Shape],
        within: str,
    ) -> None:
        self.of, self._shapes, self._unused = of, shapes, unused
        self._within = f"{within}." if within else ""
        needed = {theirs for ours, theirs in of.items() if not _may_be_missing(ours)}
        pieces = 1 + max(name.count(".") for name in needed)
        reach = Counter(
            begin for name in shapes for begin, rest in _ends(name, pieces) if rest in needed
        )
        counts = {begin: n for begin, n in reach.items() if begin.startswith(self._within)}
        self._whole = sorted((b for b, n in counts.items() if n == len(needed)), key=len)
        best = max(counts.values(), default=0)
        self.prefix = min((b for b, n in counts.items() if n == best), key=len, default="")
        self.reach = best / len(needed)

    def network(self, same: Callable[[str, str], bool]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Names in the file by the network's own, and how those of its copies begin.

        Raises SeveralNetworks.
        """
        found = {
            ours: self.prefix + theirs
            for ours, theirs in self.of.items()
            if ours not in _NORMALISATION and self.prefix + theirs in self._shapes
        }
        others = [begin for begin in self._whole if begin != self.prefix]
        for other in others:
            twins = ((name, other + name.removeprefix(self.prefix)) for name in found.values())
            if not all(same(a, b) for a, b in twins if b in self._shapes):
                raise SeveralNetworks([begin.removesuffix(".") or TOP for begin in self._whole])
        return found, tuple(others)

    def leaves_out(self, name: str) -> bool:
        """Whether a name that is none of the network's may be left out."""
        if not name.startswith(self._within) or _LEFT_OUT.fullmatch(name):
            return True
        return any(rest.startswith(self._unused) for _, rest in _splits(name))


def _may_be_missing(ours: str) -> bool:
    return ours in _NORMALISATION or ours.endswith(_OPTIONAL)


def _ends(name: str, pieces: int) -> Iterator[tuple[str, str]]:
    """A name in two at its last dots: ends of up to so many pieces, and what stands before them."""
    at = len(name)
    for _ in range(pieces):
        at = name.rfind(".", 0, at)
        yield name[: at + 1], name[at + 1 :]
        if at < 0:
            return


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """A name in two at each of its dots: beginnings with the dot, from none to the longest."""
    at = 0
    while True:
        yield name[:at], name[at:]
        at = name.find(".", at) + 1
        if at == 0:
            return


def _fits(ours: str, theirs: Shape, expected: Shape) -> bool:
    """Whether a weight has the network's shape; the head may have another number of outputs."""
    if ours in ("head.weight", "head.bias"):
        return len(theirs) == len(expected) and theirs[1:] == expected[1:] and theirs[0] > 0
    if _FLATTENED in ours and len(theirs) == 2:  # a linear layer that sees the whole map
        return theirs == (expected[0], math.prod(expected[1:]))
    return theirs == expected


def _size(shape: Shape) -> str:
    return " × ".join(str(side) for side in shape) or "a number"
