"""A file of weights from outside: safetensors is read, a PyTorch file is converted first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from app.errors import JobError
from worker.models.matching import Shape, shown

CONVERSION_S = 120
"""How long a conversion may take, on the clock and on the processor."""
_SPARE_MB = 512
_POLL_S = 0.2
_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_HEADER = 10 * 2**20
_LONGEST_NAME = 300
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNTS = (torch.int64, torch.int32, *_FLOATS)
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


@dataclass(frozen=True)
class WeightsFile:
    """Tensors in a safetensors file, not read yet."""

    path: Path
    shapes: Mapping[str, Shape]
    notes: tuple[str, ...]
    """What people should know about the file."""

    def read(self, names: Mapping[str, str], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under `names.values()` by `names.keys()`, floats as float32.

        Args:
            like: the network's own tensors. Where they are floating, so have the file's to be:
                integers are codes of a quantised network, which mean nothing without their scales.

        Raises JobError for types that plain weights do not have.
        """
        found = {}
        with safe_open(self.path, framework="pt") as file:
            for ours, theirs in names.items():
                value = file.get_tensor(theirs)
                floating = like[ours].is_floating_point()
                if value.dtype not in (_FLOATS if floating else _COUNTS):
                    raise JobError(
                        f"{shown(theirs)} is of type {value.dtype}: no plain weight is.",
                        hint="Save the network in float32, not quantised.",
                    )
                found[ours] = value.float() if value.is_floating_point() else value
        return found


@contextmanager
def opened(path: Path, *, scratch: Path, check: Callable[[], None]) -> Iterator[WeightsFile]:
    """The weights in a file of any accepted format, known by its content.

    Args:
        scratch: where a converted file may lie; gone afterwards.
        check: called again and again; raises when the job must end.

    Raises JobError with what is wrong.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    length = int.from_bytes(start[:8], "little")
    try:
        if start[8:] == b"{" and length <= path.stat().st_size - 8:
            yield _safetensors(path, length, ())
        elif start.startswith((b"PK\x03\x04", b"\x80")):
            notes = _convert(path, scratch, check)
            yield _safetensors(scratch, 0, notes)
        else:
            raise JobError(
                "The file is neither safetensors nor a PyTorch file.",
                hint="Upload the weights themselves: not a pointer to them, a page or an archive.",
            )
    finally:
        scratch.unlink(missing_ok=True)


def _safetensors(path: Path, header: int, notes: tuple[str, ...]) -> WeightsFile:
    if header > _LONGEST_HEADER:
        raise JobError(f"The file's header of {header:,} bytes is longer than any network's.")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise JobError(
            f"The file is no valid safetensors file: {error}"[:300], hint="Save it again."
        ) from error
    if any(len(name) > _LONGEST_NAME for name in shapes):
        raise JobError(f"A weight's name is longer than {_LONGEST_NAME} characters: none is.")
    return WeightsFile(path, shapes, notes)


def _convert(source: Path, target: Path, check: Callable[[], None]) -> tuple[str, ...]:
    """Have another process convert a PyTorch file; returns what people should know."""
    megabytes = _SPARE_MB + 4 * source.stat().st_size // 2**20
    command = [
        "worker.jobs.converting",
        str(source),
        str(target),
        str(megabytes),
        str(CONVERSION_S),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=_ROOT,
        env={name: os.environ[name] for name in _NEEDED if name in os.environ}
        | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait(process, check)
        assert process.stdout is not None
        said = process.stdout.read(2**16)
    finally:
        _end(process)
    return _understood(process.returncode, said)


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> None:
    deadline = time.monotonic() + CONVERSION_S
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            check()
            if time.monotonic() < deadline:
                continue
            raise _took_too_long() from None
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _understood(code: int, said: bytes) -> tuple[str, ...]:
    lines = said.splitlines()
    try:
        reply: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        if code == -signal.SIGXCPU:
            raise _took_too_long() from None
        if code == -signal.SIGKILL:
            raise JobError(
                "The system ended the conversion, as it does when memory runs out.",
                hint="Try again when fewer jobs run, or save the weights as safetensors.",
            ) from None
        raise JobError(
            f"The file made the conversion break down (exit code {code}).",
            hint="Save `model.state_dict()` again, or as safetensors.",
        ) from None
    if "detail" in reply:
        raise JobError(reply["detail"][:1000], hint=reply["hint"][:500])
    notes = [f"Converted {reply['tensors']:,} tensors to safetensors."]
    if reply["ignored"]:
        notes.append(f"{reply['ignored']:,} other entries of the checkpoint are left out.")
    if not reply["isolated"]:
        notes.append(
            "This system lets no process leave the network; the conversion was kept from it by "
            "an audit hook alone."
        )
    return tuple(notes)


def _took_too_long() -> JobError:
    return JobError(
        f"Reading the file took more than {CONVERSION_S} s.",
        hint="Save the state dict alone, or as safetensors.",
    )
