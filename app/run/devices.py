"""The GPUs of this machine, found without torch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ASK = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
_ANSWERS_WITHIN_S = 20.0


def gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What `CUDA_VISIBLE_DEVICES` may say, one for each GPU that the lab may use.

    Those that the variable names, where it is set; else all that the driver's own tool knows. Empty
    where there is none, or no such tool.
    """
    if _VISIBLE in environment:
        return _named(environment[_VISIBLE])
    try:
        asked = subprocess.run(
            _ASK, capture_output=True, text=True, check=True, timeout=_ANSWERS_WITHIN_S
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line for line in asked.stdout.split() if line.startswith("GPU-"))


def only(gpus: Sequence[str]) -> dict[str, str]:
    """The environment of a process that sees these."""
    return {_VISIBLE: ",".join(gpus)}


def _named(value: str) -> tuple[str, ...]:
    """CUDA reads the list up to the first entry that names no device, such as -1."""
    found: list[str] = []
    for entry in (part.strip() for part in value.split(",")):
        if not entry or entry.startswith("-"):
            break
        found.append(entry)
    return tuple(found)
