"""The GPUs of this machine, found without torch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ASK = ("nvidia-smi", "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits")
_ANSWERS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Gpu:
    """One GPU, as the driver's own tool says."""

    uuid: str
    name: str
    memory_mb: int | None
    """In units of 2^20 bytes; None where the tool does not say."""


def gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What `CUDA_VISIBLE_DEVICES` may say, one for each GPU that the lab may use.

    Those that the variable names, where it is set; else all that the driver's own tool knows. Empty
    where there is none, or no such tool.
    """
    if _VISIBLE in environment:
        return _named(environment[_VISIBLE])
    return tuple(gpu.uuid for gpu in _known())


def described(environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The same with what the tool says of them; empty where it knows none.

    A part of a GPU (MIG) has the variable's name for it, and a memory that nobody tells.
    """
    known = _known()
    if not known or _VISIBLE not in environment:
        return known
    return tuple(_among(known, name) for name in _named(environment[_VISIBLE]))


def only(gpus: Sequence[str]) -> dict[str, str]:
    """The environment of a process that sees these."""
    return {_VISIBLE: ",".join(gpus)}


def _known() -> tuple[Gpu, ...]:
    try:
        asked = subprocess.run(
            _ASK, capture_output=True, text=True, check=True, timeout=_ANSWERS_WITHIN_S
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in asked.stdout.splitlines()]
    return tuple(
        Gpu(uuid, name, int(memory) if memory.isdecimal() else None)
        for uuid, name, memory in (row for row in rows if len(row) == 3)
        if uuid.startswith("GPU-")
    )


def _among(known: tuple[Gpu, ...], name: str) -> Gpu:
    """CUDA takes a number, or the beginning of an id."""
    if name.isdecimal() and int(name) < len(known):
        return known[int(name)]
    found = [gpu for gpu in known if gpu.uuid.startswith(name)]
    return found[0] if len(found) == 1 else Gpu(name, "GPU", None)


def _named(value: str) -> tuple[str, ...]:
    """CUDA reads the list up to the first entry that names no device, such as -1."""
    found: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        if not entry or entry.startswith("-"):
            break
        found.append(entry)
    return tuple(found)
