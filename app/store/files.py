"""Files of the lab: a row names a file only after the file is complete on disk."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel

from app.contracts.access import Access

_UNFINISHED = (
    "uploads/.*.part", "models/.*.part", "results/.*.part", "adversarial/*/.*.part",
    "models/*.converted",
)  # fmt: skip
"""What `atomic_write` and the conversion of weights leave when their process is killed."""
_WRITTEN_WITHIN_S = 24 * 3600.0


class Files:
    """The folders below `LAB_DATA_DIR`. Names are ids that the lab made, never a user's text."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Create the folders, and remove what processes were killed in the midst of writing.

        Raises OSError where the data folder cannot be written.
        """
        for folder in ("uploads", "datasets", "models", "results", "checkpoints", "adversarial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        forgotten = time.time() - _WRITTEN_WITHIN_S
        for pattern in _UNFINISHED:
            for path in self.root.glob(pattern):
                with suppress(FileNotFoundError):  # another process tidies too
                    if path.stat().st_mtime < forgotten:
                        path.unlink()

    def upload(self, id: str) -> Path:
        return self.root / "uploads" / id

    def dataset(self, id: str) -> Path:
        return self.root / "datasets" / id

    def weights(self, model_id: str, access: Access = Access.WHITE_BOX) -> Path:
        """The file of a model: weights, or the network of a black box."""
        suffix = ".safetensors" if access is Access.WHITE_BOX else ".onnx"
        return self.root / "models" / f"{model_id}{suffix}"

    def result(self, job_id: str) -> Path:
        return self.root / "results" / f"{job_id}.json"

    def onnx(self, job_id: str) -> Path:
        """The network that a release job wrote."""
        return self.root / "results" / f"{job_id}.onnx"

    def adversarial(self, job_id: str) -> Path:
        """The folder of the adversarial images that an evaluation kept, a file for each model."""
        return self.root / "adversarial" / job_id

    def checkpoints(self, job_id: str) -> Path:
        """The folder where a training job keeps what it needs to go on."""
        return self.root / "checkpoints" / job_id

    def with_checkpoints(self) -> set[str]:
        """The jobs that left a folder of checkpoints."""
        return {folder.name for folder in (self.root / "checkpoints").iterdir()}

    def has_checkpoint(self, job_id: str) -> bool:
        """Whether a training job left one to go on from."""
        return any(self.checkpoints(job_id).glob("*.pt"))

    def write_result(self, job_id: str, result: BaseModel) -> str:
        """Write a job's result; returns the file's name for the row."""
        path = self.result(job_id)
        with atomic_write(path) as stream:
            stream.write(result.model_dump_json().encode())
        return path.name


def keep_private(root: Path) -> None:
    """From now on what this process writes is for its owner alone, whatever the umask was; and the
    data folder is nobody else's to look into.

    Raises OSError where the folder cannot be made.
    """
    os.umask(0o077)
    root.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # another user's, who says who may look
        root.chmod(0o700)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content appears under `path` whole, or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder; what is not there, or cannot be removed, holds up nothing else."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
