"""A PyTorch state dict becomes safetensors, in a process that can do little else.

    python -m worker.jobs.converting SOURCE TARGET MEGABYTES SECONDS

The file is hostile until converted: it is read with `weights_only=True`, which runs no code of
its own, without a network, and within limits of memory, time and written bytes. The last line on
standard output is JSON: what was found, or what is wrong and what to do (decision 19).
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from confinement import guard, leave_network, limit

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Under which keys training code stores a state dict within a checkpoint."""
_DEEPEST = 4
_MOST_TENSORS = 100_000
_LONGEST_NAME = 300
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class Refused(Exception):
    """The file cannot be taken; what is wrong, and what to do."""

    def __init__(self, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.detail, self.hint = detail, hint


def main(source: Path, target: Path, megabytes: int, seconds: int) -> int:
    """Convert one file; 0 when it could be converted."""
    isolated = leave_network()
    # Only now: a process of several threads cannot leave its user namespace.
    import torch

    limit(megabytes, seconds)
    guard()
    try:
        said = convert(source, target, megabytes * 2**20) | {"isolated": isolated}
    except Refused as refused:
        said = {"detail": refused.detail, "hint": refused.hint}
    except (MemoryError, torch.OutOfMemoryError):
        said = _too_large(megabytes)
    print(json.dumps(said), flush=True)
    return 1 if "detail" in said else 0


def convert(source: Path, target: Path, most_bytes: int) -> dict[str, Any]:
    """Write the state dict in `source` to `target`; returns what was found. Raises Refused."""
    import safetensors.torch

    tensors, ignored = _state(_loaded(source))
    if sum(value.numel() * value.element_size() for value in tensors.values()) > most_bytes // 3:
        raise Refused("The weights are larger than their file.", "Save the state dict again.")
    # Copies, since tensors in a checkpoint may share their storage, which safetensors refuses.
    plain = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(plain, target)
    return {"tensors": len(plain), "ignored": ignored}


def _loaded(source: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(source, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes make the reader fail in every way there is
        text = str(error)
        named = _GLOBAL.search(text)
        if "alloc" in text or "not enough memory" in text:
            raise MemoryError from error
        if named:
            raise Refused(
                f"The file holds more than weights ({named[1][:100]}); reading that would run its "
                "code, which the lab never does.",
                "Save `model.state_dict()` alone, or as safetensors.",
            ) from error
        raise Refused(
            "The file is damaged, or no PyTorch file.", "Save `model.state_dict()` again."
        ) from error


def _state(loaded: Any) -> tuple[dict[str, Any], int]:
    """The dict of tensors within a checkpoint, and how many other entries lie beside them."""
    import torch

    for _ in range(_DEEPEST):
        if not isinstance(loaded, dict):
            break
        inner = [key for key in WRAPPERS if isinstance(loaded.get(key), dict)]
        if not inner:
            break
        if len(inner) > 1:
            raise Refused(
                f"The file holds several networks: {', '.join(inner)}.",
                "Save the state dict of the one that is meant.",
            )
        loaded = loaded[inner[0]]
    if not isinstance(loaded, dict):
        raise Refused("The file holds no state dict.", "Save `model.state_dict()`.")
    tensors = {key: value for key, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise Refused(
            "The file holds no weights.",
            f"Save `model.state_dict()`, alone or under one of: {', '.join(WRAPPERS)}.",
        )
    if len(tensors) > _MOST_TENSORS:
        raise Refused(f"The file holds {len(tensors):,} tensors.", "No network has so many.")
    for name, value in tensors.items():
        _check(name, value)
    return tensors, len(loaded) - len(tensors)


def _check(name: Any, value: Any) -> None:
    """A plain tensor of numbers under a plain name. Raises Refused."""
    import torch

    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise Refused("A weight has no plain name.", "Save `model.state_dict()`.")
    plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or not (value.is_floating_point() or value.dtype in (torch.int64, torch.int32)):
        raise Refused(
            f"{name[:60]} is no plain tensor of numbers ({value.dtype}, {value.layout}).",
            "Save the network in float32, neither sparse nor quantised.",
        )


def _too_large(megabytes: int) -> dict[str, Any]:
    return {
        "detail": f"Reading the file takes more than {megabytes:,} MB of memory.",
        "hint": "Save the state dict alone, in float32 or float16, or as safetensors.",
    }


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
