"""Whose weights a file holds: its names against those of a network, and what does not match."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from worker.models.base import Classifier

PREFIXES = ("module.", "model.", "net.", "_orig_mod.")
"""What `DataParallel`, wrappers and `torch.compile` put before every name."""
_NORMALISATION = ("mean", "std")
_OPTIONAL = "num_batches_tracked"
_NAMED, _IN_SHORT = 20, 3

Shape = tuple[int, ...]


class Mismatch(ValueError):
    """The file's weights are not the network's.

    Attributes:
        missing: weights of the network that the file lacks, by their published names.
        unexpected: weights of the file that the network lacks.
        shapes: weights of both that differ in shape: "fc.weight is 100 x 64, not 10 x 64".
        only_head: nothing but the shape of the head differs, which has other classes then.
    """

    def __init__(
        self,
        missing: Sequence[str],
        unexpected: Sequence[str],
        shapes: Sequence[str],
        *,
        only_head: bool,
    ) -> None:
        self.missing, self.unexpected, self.shapes = missing, unexpected, shapes
        self.only_head = only_head and not missing and not unexpected
        super().__init__("; ".join(self.lists(_IN_SHORT)))

    def lists(self, most: int = _NAMED) -> list[str]:
        """A line for each kind of difference, with its first `most` names and their count."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.shapes,
        }
        return [listed(what, names, most) for what, names in kinds.items() if names]


def listed(what: str, names: Sequence[str], most: int = _NAMED) -> str:
    """`3 missing: a, b, c`; the first `most` of them by name, each cut short and printable."""
    named = ", ".join(shown(name) for name in names[:most])
    return f"{len(names):,} {what}: {named}{', …' if len(names) > most else ''}"


def shown(name: str) -> str:
    """A name from a file as a message may hold it."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return plain if len(plain) <= 80 else f"{plain[:79]}…"


def match(model: Classifier, shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The name in the file of each weight of `model` that the file has.

    The file may use the names of `model` or the published ones of its network, with prefixes. It
    may lack `mean` and `std` of the normalisation, and batch norm's counters of batches.

    Args:
        shapes: of every tensor in the file, by its name.

    Raises:
        Mismatch: a weight is missing, unexpected or of another shape.
        ValueError: two names of the file stand for one weight.
    """
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    published = model.published_names()
    own = {name: name for name in state} | {theirs: ours for ours, theirs in published.items()}
    found, unexpected = _sorted_out(own, shapes, model.unused)
    free = {name for name in state if name in _NORMALISATION or name.endswith(_OPTIONAL)}
    missing = [published.get(name, name) for name in state if name not in found.keys() | free]
    wrong = {
        ours: f"{theirs} is {_size(shapes[theirs])}, not {_size(state[ours])}"
        for ours, theirs in found.items()
        if shapes[theirs] != state[ours]
    }
    if missing or unexpected or wrong:
        only_head = all(ours.startswith("head.") for ours in wrong)
        raise Mismatch(missing, unexpected, list(wrong.values()), only_head=only_head)
    return found


def _sorted_out(
    own: Mapping[str, str], names: Collection[str], unused: tuple[str, ...]
) -> tuple[dict[str, str], list[str]]:
    """Names in the file by the network's own, and those that stand for nothing."""
    found: dict[str, str] = {}
    unexpected = []
    for name in names:
        bare = _bare(name, own)
        ours = own.get(bare)
        if ours in found:
            raise ValueError(f"{shown(found[ours])} and {shown(name)} stand for one weight")
        if ours is not None:
            found[ours] = name
        elif not bare.startswith(unused):
            unexpected.append(name)
    return found, unexpected


def _bare(name: str, known: Collection[str]) -> str:
    """Without prefixes, until it is known."""
    while name not in known:
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            break
        name = name.removeprefix(prefix)
    return name


def _size(shape: Shape) -> str:
    return " × ".join(str(side) for side in shape) or "a number"
