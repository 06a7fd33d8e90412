"""Which network of a checkpoint is meant: a checkpoint is dicts in dicts, some of them networks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from worker.models.matching import TOP, SeveralNetworks

_DEEPEST = 4
_NO_NETWORK = re.compile(
    r"(optim|optimi[sz]er|opt|(lr_?)?sched(uler)?|(grad_?|amp_?|loss_?)?scaler|amp)s?([_\d].*)?"
)
"""What training code calls the state of an optimiser, a schedule or a loss scale."""
State = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """One network of a checkpoint."""

    name: str
    """Where it lies: keys joined by dots, `TOP` where it is the file itself."""
    entries: State
    within: str
    """What was asked for beyond a key of the file: how the names of its weights begin."""
    beside: tuple[str, ...]
    """What else the file holds, by name."""
    copies: tuple[str, ...]
    """Networks of the very same weights."""


def choose(loaded: Any, wanted: str) -> Chosen | None:
    """The network that is meant, None where there is none.

    Args:
        loaded: what the file holds.
        wanted: its name, or a name of several of its weights' beginnings; empty for the only one.

    Raises:
        SeveralNetworks: nothing says which of several is meant, or none has that name.
    """
    found = dict(_networks(loaded, 2, (), 0)) or dict(_networks(loaded, 0, (), 0))
    if not found:
        return None
    named, within = _named(found, wanted)
    keys = next(iter(found)) if named is None else named
    entries = found[keys]
    copies = {other for other in found if other != keys and _same(entries, found[other])}
    if named is None and len(copies) + 1 < len(found):
        raise SeveralNetworks(tuple(map(_shown, found)))
    return Chosen(
        name=_shown(keys),
        entries=entries,
        within=within,
        beside=tuple(sorted(_beside(loaded, keys, copies))),
        copies=tuple(map(_shown, copies)),
    )


Keys = tuple[str, ...]


def _networks(loaded: Any, dimensions: int, keys: Keys, depth: int) -> Iterator[tuple[Keys, State]]:
    """Dicts with a tensor of so many dimensions or more, from the outside in.

    A tensor of one may be a note of the training, such as its best accuracy.
    """
    if not isinstance(loaded, dict) or depth > _DEEPEST:
        return
    tensors = (value for value in loaded.values() if isinstance(value, torch.Tensor))
    if any(value.dim() >= dimensions for value in tensors):
        yield keys, loaded
    for key, value in loaded.items():
        if isinstance(key, str) and not _NO_NETWORK.fullmatch(key.lower()):
            yield from _networks(value, dimensions, (*keys, key), depth + 1)


def _named(found: Mapping[Keys, State], wanted: str) -> tuple[Keys | None, str]:
    """The network of that name, and the rest of the name; None for the only one or the first."""
    if wanted == TOP and () in found:
        return (), ""
    for keys in sorted(found, key=len, reverse=True):
        path = ".".join(keys)
        if path and (wanted == path or wanted.startswith(f"{path}.")):
            return keys, wanted[len(path) + 1 :]
    if wanted and len(found) == 1 and wanted != TOP:
        return None, wanted
    if wanted:
        begins = [keys for keys, state in found.items() if _begins(state, wanted)]
        if len(begins) == 1:
            return begins[0], wanted
        raise SeveralNetworks(tuple(map(_shown, found)))
    return None, ""


def _begins(state: State, wanted: str) -> bool:
    return any(isinstance(name, str) and name.startswith(f"{wanted}.") for name in state)


def _same(state: State, other: State) -> bool:
    if state is other:
        return True
    pairs = ((state[name], other.get(name)) for name in state)
    return state.keys() == other.keys() and all(
        isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        for a, b in pairs
        if isinstance(a, torch.Tensor)
    )


def _beside(loaded: Any, keys: Keys, copies: set[Keys]) -> Iterator[str]:
    """Names of what lies beside the way to a network, and in it."""
    for depth in range(len(keys) + 1):
        within = loaded
        for key in keys[:depth]:
            within = within[key]
        for name, value in within.items():
            path = (*keys[:depth], str(name))
            on_the_way = depth < len(keys) and name == keys[depth]
            kept = depth == len(keys) and isinstance(value, torch.Tensor)
            if not on_the_way and not kept and path not in copies:
                yield str(name)


def _shown(keys: Keys) -> str:
    return ".".join(keys) or TOP
