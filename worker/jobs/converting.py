"""A PyTorch state dict becomes safetensors, in a process that can do little else.

    python -m worker.jobs.converting SOURCE TARGET MEGABYTES SECONDS NETWORK

The file is hostile until converted: it is read with `weights_only=True`, which runs no code of
its own, with no network and no other file in sight, and within limits of memory, time and written
bytes (decision 19). TARGET lies in a folder of its own. NETWORK names which one of several is
meant; it may be empty. The last line on standard output is JSON: what was found, or what is wrong
and what to do.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confinement import confine, die_with_parent, guard, limit
from worker.jobs import file_kinds, pickled

_MOST_TENSORS = 20_000
_LONGEST_NAME = 300
_SHOWN = 12
"""Names of one kind that are told."""
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


class Refused(Exception):
    """The file cannot be taken; what is wrong, and what to do, or what to choose among."""

    def __init__(self, detail: str, hint: str, choices: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.detail, self.hint, self.choices = detail, hint, choices


def main(source: Path, target: Path, megabytes: int, seconds: int, network: str) -> int:
    """Convert one file; 0 when it could be converted."""
    import torch  # which looks for a compiler meanwhile

    die_with_parent()
    confine(reads=[source], writes=[target.parent])
    limit(megabytes, seconds)
    guard()
    try:
        said = convert(source, target, megabytes * 2**20, network)
    except Refused as refused:
        said = {"detail": refused.detail, "hint": refused.hint, "choices": list(refused.choices)}
    except (MemoryError, torch.OutOfMemoryError):
        said = _too_large(megabytes)
    print(json.dumps(said), flush=True)
    return 1 if "detail" in said else 0


def convert(source: Path, target: Path, most_bytes: int, network: str = "") -> dict[str, Any]:
    """Write the state dict in `source` to `target`; returns what was found. Raises Refused.

    `network`: which one of several; a name that is none of the file's keys begins the names of the
    weights that are meant, and is told as `within`.
    """
    import safetensors.torch

    _check_zip(source, most_bytes)
    tensors, said = _state(_loaded(source), network)
    if sum(value.numel() * value.element_size() for value in tensors.values()) > most_bytes // 3:
        raise Refused("The weights are larger than their file.", "Save the state dict again.")
    # Copies, since tensors in a checkpoint may share their storage, which safetensors refuses.
    plain = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(plain, target)
    return said


def _check_zip(source: Path, most_bytes: int) -> None:
    """That a zip is what `torch.save` writes, and whole. Raises Refused, MemoryError.

    torch does not look at checksums: a bit that has tipped over would be another weight.
    """
    try:
        if not zipfile.is_zipfile(source):
            return
        with zipfile.ZipFile(source) as found:
            members = found.infolist()
            kind = file_kinds.by_members([member.filename for member in members])
            if kind is not None:
                raise Refused(f"The file is {kind.name}.", kind.way_out)
            if sum(member.file_size for member in members) > most_bytes:
                raise MemoryError
            for member in members:
                # Zero says that none was written, see `torch.serialization.set_crc32_options`.
                if member.CRC:
                    _read_through(found, member)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # hostile bytes make the reader fail in every way there is
        raise Refused(
            "The file is damaged: what it holds is not what its checksums say.",
            "Copy or download it again, and compare its SHA-256 with that of the original.",
        ) from error


def _read_through(found: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises what `zipfile` raises of a damaged member."""
    with found.open(member) as stream:
        while stream.read(2**20):
            pass


def _plain_values() -> list[Any]:
    """What trainings note beside their weights, and what does nothing when it is read: their
    arguments, and numbers of NumPy."""
    import argparse

    return [argparse.Namespace, *((reads, name) for name, reads in pickled.NUMBERS.items())]


def _loaded(source: Path) -> Any:
    import torch

    try:
        quiet, plain = warnings.catch_warnings(action="ignore"), _plain_values()
        with quiet, torch.serialization.safe_globals(plain):
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
            "The file is damaged, or a pickle that `torch.save` did not write.",
            "Save `model.state_dict()` again; of arrays, "
            "`torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, “net.pt”)`.",
        ) from error


def _state(loaded: Any, network: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of the network that is meant, and what to say of the file."""
    import torch

    from worker.jobs.checkpoint import choose
    from worker.jobs.noted import noted
    from worker.models.matching import SeveralNetworks

    if not isinstance(loaded, dict):
        raise Refused("The file holds no state dict.", "Save `model.state_dict()`.")
    try:
        chosen = choose(loaded, network)
    except SeveralNetworks as several:
        raise _question(several.names, network) from several
    if chosen is None:
        raise Refused("The file holds no weights.", "Save `model.state_dict()`.")
    entries = chosen.entries.items()
    tensors = {key: value for key, value in entries if isinstance(value, torch.Tensor)}
    if len(tensors) > _MOST_TENSORS:
        raise Refused(f"The file holds {len(tensors):,} tensors.", "No network has so many.")
    for name, value in tensors.items():
        _check(name, value)
    return tensors, {
        "tensors": len(tensors),
        "network": chosen.name,
        "within": chosen.within,
        "beside": [name[:60] for name in chosen.beside[:_SHOWN]],
        "ignored": len(chosen.beside),
        "copies": list(chosen.copies[:_SHOWN]),
        "noted": noted(loaded, chosen.entries).plain(),
    }


def _question(names: Sequence[str], wanted: str) -> Refused:
    shown = ", ".join(name[:60] for name in names[:_SHOWN])
    if wanted:
        return Refused(
            f"The file holds no network “{wanted[:60]}”; it holds {shown}.",
            "Name one of these as the network in the file.",
            names[:_SHOWN],
        )
    return Refused(
        f"The file holds several networks: {shown}.",
        "Say which one is meant, as the network in the file. An average of weights (EMA) is often "
        "the one that was measured.",
        names[:_SHOWN],
    )


def _check(name: Any, value: Any) -> None:
    """A plain tensor of numbers under a plain name. Raises Refused."""
    import torch

    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise Refused("A weight has no plain name.", "Save `model.state_dict()`.")
    kind = str(value.dtype).removeprefix("torch.")
    plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or not (value.is_floating_point() or value.dtype in (torch.int64, torch.int32)):
        raise Refused(
            f"{name[:60]} is no plain tensor of numbers ({kind}).",
            "Save the network in float32, neither sparse nor quantised.",
        )


def _too_large(megabytes: int) -> dict[str, Any]:
    return {
        "detail": f"Reading the file takes more than {megabytes:,} MB of memory.",
        "hint": "Save the state dict alone, in float32 or float16, or as safetensors.",
    }


if __name__ == "__main__":
    os.umask(0o077)
    _, given, written, space, time, named = sys.argv
    sys.exit(main(Path(given), Path(written), int(space), int(time), named))
