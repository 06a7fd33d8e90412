"""What a file is that the lab reads no weights from: its name, and the way out.

Told by content: the first bytes of a file, or the names within a zip.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Kind(NamedTuple):
    """A format that is not taken."""

    name: str
    """As in "The file is a TorchScript program"."""
    way_out: str


START_BYTES = 512
"""How much of a file `by_start` looks at."""
_KERAS_WAY = (
    "Build the same network in PyTorch, copy the weights (convolutions from HWIO to OIHW), compare "
    "the logits of both, and save `model.state_dict()`."
)
_UNPACK = "Unpack it, and upload the file of weights within."
_TENSORFLOW = Kind("a TensorFlow model", _KERAS_WAY)
_KERAS = Kind("a Keras model", _KERAS_WAY)
_POINTER = Kind(
    "a Git LFS pointer, not the weights themselves", "Fetch them: `git lfs pull`, then upload."
)
_PAGE = Kind(
    "a web page, not weights", "The download did not give the file: sign in, or use its raw link."
)
_STARTS = (
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file, as Keras writes them", _KERAS_WAY)),
    (b"\x93NUMPY", Kind("a NumPy array", "Save a state dict: one named tensor for each weight.")),
    (b"version https://git-lfs", _POINTER),
    (b"GGUF", Kind("a GGUF file, of quantised weights", "Upload the weights in float32.")),
    (b"\x1f\x8b", Kind("compressed with gzip", _UNPACK)),
    (b"\xfd7zXZ", Kind("compressed with xz", _UNPACK)),
    (b"BZh", Kind("compressed with bzip2", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Kind("compressed with zstd", _UNPACK)),
    (b"7z\xbc\xaf", Kind("a 7-Zip archive", _UNPACK)),
    (b"Rar!", Kind("a RAR archive", _UNPACK)),
)


def is_onnx(start: bytes) -> bool:
    """Whether a file with these first `START_BYTES` is an ONNX model.

    Protocol buffers: ONNX opens with its version, a SavedModel with its schema's, 1.
    """
    if start[:1] != b"\x08" or start[2:3] not in (b"\x12", b":", b"B"):
        return False
    return start[1:3] != b"\x01\x12" or b"onnx" in start


def by_start(start: bytes) -> Kind | None:
    """What a file with these first `START_BYTES` is; None where nobody knows."""
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    text = start.lstrip()[:200].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return _PAGE
    if text.startswith(b"{") and b'"' in text:
        return Kind(
            "a JSON file, not weights",
            "The weights lie beside it, as model.safetensors or pytorch_model.bin; where it is an "
            "index of several files, join these and save one.",
        )
    if start[257:262] == b"ustar":
        return Kind("a tar archive", _UNPACK)
    if start[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite model", _KERAS_WAY)
    if start[:3] == b"\x08\x01\x12" and not is_onnx(start):
        return _TENSORFLOW
    return _TENSORFLOW if b"\n\x0b\n\x05" in start[:8] else None


def by_members(names: Collection[str]) -> Kind | None:
    """What a zip with these names is; None where it may be what `torch.save` writes."""
    last = {name.rsplit("/", 1)[-1] for name in names}
    if "constants.pkl" in last or any("/code/" in f"/{name}" for name in names):
        return Kind(
            "a TorchScript program",
            "It holds code, which the lab never runs. Save the weights alone: "
            "`torch.save(torch.jit.load(file).state_dict(), “net.pt”)`.",
        )
    if "archive_format" in last or any(name.endswith("models/model.json") for name in names):
        return Kind(
            "a program of torch.export (.pt2)",
            "Save the weights alone: `torch.save(torch.export.load(file).state_dict, “net.pt”)`.",
        )
    if "data.pkl" in last:
        return None
    if any(name.endswith(".npy") for name in last):
        return Kind(
            "a NumPy archive (.npz)",
            "Where its arrays have the names of a state dict, save them as one: "
            "`torch.save({name: torch.from_numpy(a) for name, a in np.load(file).items()}, "
            "“net.pt”)`.",
        )
    if last & {"model.weights.h5", "metadata.json"} and "config.json" in last:
        return _KERAS
    if last & {"saved_model.pb", "keras_metadata.pb", "checkpoint"}:
        return _TENSORFLOW
    return Kind("a zip archive", _UNPACK)
