"""A file of weights from outside: safetensors is read, a PyTorch file is converted first."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from app.errors import JobError
from app.store.files import remove
from worker import apart
from worker.jobs import file_kinds
from worker.jobs.noted import Noted, noted
from worker.models.matching import TOP, Shape, shown

CONVERSION_S = 120
"""How long a conversion may take, on the clock and on the processor."""
_SPARE_MB = 512
_LONGEST_HEADER = 2 * 2**20
_LONGEST_NAME = 300
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNTS = (torch.int64, torch.int32, *_FLOATS)


_WRAPPERS = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""What torch.compile, FSDP, activation checkpoints and Lightning's Fabric put into names, before
any layer that they wrap."""


@dataclass(frozen=True)
class WeightsFile:
    """Tensors in a safetensors file, not read yet."""

    path: Path
    shapes: Mapping[str, Shape]
    """By their names, without those of wrappers."""
    notes: tuple[str, ...]
    """What people should know about the file."""
    within: str = ""
    """How the names of the weights begin that are meant, without the last dot."""
    stored: Mapping[str, str] = field(default_factory=dict)
    """What those are called in the file whose names have wrappers."""
    noted: Noted = field(default_factory=Noted)
    """What the file says beside its tensors, which is not read."""

    def same(self, name: str, other: str) -> bool:
        """Whether two tensors are equal, whatever their type."""
        with safe_open(self.path, framework="pt") as file:
            return torch.equal(*(file.get_tensor(self.stored.get(n, n)) for n in (name, other)))

    def numbers(self, name: str) -> Tensor:
        """A tensor as float64."""
        with safe_open(self.path, framework="pt") as file:
            value: Tensor = file.get_tensor(self.stored.get(name, name))
        return value.double()

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
                value = file.get_tensor(self.stored.get(theirs, theirs))
                floating = like[ours].is_floating_point()
                if value.dtype not in (_FLOATS if floating else _COUNTS):
                    raise JobError(
                        f"{shown(theirs)} is of type {kind_of(value)}: no plain weight is.",
                        hint="Save the network in float32, not quantised.",
                    )
                if value.numel() == like[ours].numel():
                    value = value.reshape(like[ours].shape)
                found[ours] = value.float() if value.is_floating_point() else value
        return found


def kind_of(value: Tensor) -> str:
    """Of its numbers: `float32`."""
    return str(value.dtype).removeprefix("torch.")


@contextmanager
def opened(
    path: Path, *, network: str, scratch: Path, check: Callable[[], None]
) -> Iterator[WeightsFile]:
    """The weights in a file of any accepted format, known by its content.

    Args:
        network: which of several networks in it is meant; empty for the only one.
        scratch: a folder for a converted file; made for it, and gone afterwards.
        check: called again and again; raises when the job must end.

    Raises JobError with what is wrong.
    """
    with path.open("rb") as stream:
        start = stream.read(file_kinds.START_BYTES)
    length, size = int.from_bytes(start[:8], "little"), path.stat().st_size
    try:
        if start[8:9] == b"{" and length <= size - 8:
            yield _safetensors(path, length, (), "" if network == TOP else network)
        elif start[8:10] == b'{"':
            raise JobError(
                "The file is a safetensors file that ends early.",
                hint="Copy or download it again.",
            )
        elif start.startswith((b"PK\x03\x04", b"\x80")):
            scratch.mkdir()
            converted = scratch / "weights"
            notes, within, beside = _convert(path, network, converted, check)
            yield replace(_safetensors(converted, 0, notes, within), noted=beside)
        else:
            raise _unknown(start)
    finally:
        remove(scratch)


def _unknown(start: bytes) -> JobError:
    kind = file_kinds.by_start(start)
    if kind is not None:
        return JobError(f"The file is {kind.name}.", hint=kind.way_out)
    return JobError(
        "The file is neither safetensors nor a PyTorch file.",
        hint="Upload the weights themselves, as `torch.save(model.state_dict(), “net.pt”)` or "
        "safetensors writes them.",
    )


def _safetensors(path: Path, header: int, notes: tuple[str, ...], within: str) -> WeightsFile:
    if header > _LONGEST_HEADER:
        raise JobError(
            f"The file's header is longer than {_LONGEST_HEADER // 2**20} MB: no network's is."
        )
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            beside = noted(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise JobError(
            "The file is no valid safetensors file: damaged, cut short, or not written whole.",
            hint="Copy or download it again, or save it again.",
        ) from error
    if any(len(name) > _LONGEST_NAME for name in shapes):
        raise JobError(f"A weight's name is longer than {_LONGEST_NAME} characters: none is.")
    stored = {_WRAPPERS.sub("", name): name for name in shapes if _WRAPPERS.search(name)}
    if not stored or len({*stored} | {*shapes} - {*stored.values()}) < len(shapes):
        return WeightsFile(path, shapes, notes, within, noted=beside)
    words = sorted({word for name in stored.values() for word in _WRAPPERS.findall(name)})
    note = f"Names have {' and '.join(words)} in them, of what wrapped the network; left out."
    plain = {_WRAPPERS.sub("", name): shape for name, shape in shapes.items()}
    within = _WRAPPERS.sub("", f"{within}.")[:-1]
    return WeightsFile(path, plain, (*notes, note), within, stored, beside)


def _convert(
    source: Path, network: str, target: Path, check: Callable[[], None]
) -> tuple[tuple[str, ...], str, Noted]:
    """Have another process convert a PyTorch file; returns what people should know, `within` and
    `noted`."""
    megabytes = _SPARE_MB + 4 * source.stat().st_size // 2**20
    try:
        reply = apart.run(
            "worker.jobs.converting", source, target, megabytes, CONVERSION_S, network,
            seconds=CONVERSION_S, check=check,
        )  # fmt: skip
    except apart.TookTooLongError:
        raise JobError(
            f"Reading the file took more than {CONVERSION_S} s.",
            hint="Save the state dict alone, or as safetensors.",
        ) from None
    except apart.BrokeDownError as error:
        if error.code == -signal.SIGKILL:
            raise JobError(
                "The system ended the conversion, as it does when memory runs out.",
                hint="Try again when fewer jobs run, or save the weights as safetensors.",
            ) from None
        raise JobError(
            f"The file made the conversion break down (exit code {error.code}).",
            hint="Save `model.state_dict()` again, or as safetensors.",
        ) from None
    if "detail" in reply:
        choices = tuple(map(str, reply.get("choices", ())))
        raise JobError(
            reply["detail"][:1000],
            hint=reply["hint"][:500],
            field="network" if choices else None,
            choices=choices,
        )
    return tuple(_notes(reply)), reply["within"], Noted.of(reply["noted"])


def _notes(reply: Mapping[str, Any]) -> Iterator[str]:
    """What people should know of a file that was converted."""
    yield f"Converted {reply['tensors']:,} tensors to safetensors."
    if reply["network"] != TOP:
        yield f"The weights lie under “{shown(reply['network'])}”."
    if reply["copies"]:
        copies = ", ".join(map(shown, reply["copies"]))
        yield f"The same weights lie under {copies} again."
    if reply["beside"]:
        named = ", ".join(map(shown, reply["beside"]))
        more = ", …" if reply["ignored"] > len(reply["beside"]) else ""
        yield f"{reply['ignored']:,} other entries of the checkpoint are left out: {named}{more}."
