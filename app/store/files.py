"""Files of the lab: a row names a file only after the file is complete on disk."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel

from app.contracts.access import Held

_UNFINISHED = (
    "uploads/.*.part", "models/.*.part", "results/.*.part", "adversarial/*/.*.part",
    "models/*.converted",
)  # fmt: skip
"""What `atomic_write` and the conversion of weights leave when their process is killed."""
_FOLDERS = ("uploads", "datasets", "models", "results", "checkpoints", "adversarial")
_ID = 32
"""Characters of an id, with which every name begins."""
_MEASURED_FOR_S = 30.0
WRITTEN_WITHIN_S = 24 * 3600.0
"""However slowly it is written, no file or folder takes so long from one write to the row."""


@dataclass
class _Sizes:
    """What lies on the disk, as it was measured last."""

    at: float = -math.inf
    by_id: dict[str, int] = field(default_factory=dict)
    by_owner: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Files:
    """The folders below `LAB_DATA_DIR`. Names are ids that the lab made, never a user's text.

    Files of results have the name that their job's row gives them: id and fence of the attempt that
    wrote them, so that a worker which lost the job overwrites nothing. Earlier versions left the
    fence out. Ids of models and datasets are made of job and fence as well.
    """

    is_shared = False
    """Whether other machines have the same files, so that `keep` and `here` take a while."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sizes = _Sizes()

    def prepare(self) -> None:
        """Create the folders, and remove what processes were killed in the midst of writing.

        Raises OSError where the data folder cannot be written.
        """
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        forgotten = time.time() - WRITTEN_WITHIN_S
        for pattern in _UNFINISHED:
            for path in self.root.glob(pattern):
                with suppress(FileNotFoundError):  # another process tidies too
                    if path.stat().st_mtime < forgotten:
                        remove(path)

    def free(self) -> int:
        """Bytes that the disk has left."""
        return shutil.disk_usage(self.root).free

    def trouble(self) -> str | None:
        """Why what is shared cannot be reached now, in words; None where it can."""
        return None

    def keep(self, path: Path) -> None:
        """A file or folder is whole: from now on every machine of the lab has it.

        Nothing is left under `path` itself where that is another place, but for checkpoints.
        """

    def here(self, path: Path) -> Path:
        """Where this machine reads what was kept as `path`; `path` itself where nothing was.

        Who asks opens it soon: a copy does not stay for ever.
        """
        return path

    def has(self, path: Path) -> bool:
        """Whether there is something to read."""
        return path.exists()

    def drop(self, path: Path) -> None:
        """Remove what was kept as `path`, or only written there (see `remove`)."""
        remove(path)

    def tidy(self) -> None:
        """Remove what lies in a storage and was put there by processes that were killed."""

    def upload(self, id: str) -> Path:
        return self.root / "uploads" / id

    def dataset(self, id: str) -> Path:
        return self.root / "datasets" / id

    def weights(self, model_id: str, held: Held = Held.WEIGHTS) -> Path:
        """The file of a model: weights, the network of a black box, or how one is asked."""
        return self.root / "models" / f"{model_id}{held}"

    def result(self, name: str) -> Path:
        """`name`: of the job's row (`JobRow.result_name`), here and below."""
        return self.root / "results" / f"{name}.json"

    def onnx(self, name: str) -> Path:
        """The network that a release job wrote."""
        return self.root / "results" / f"{name}.onnx"

    def adversarial(self, name: str) -> Path:
        """The folder of the adversarial images that an evaluation kept, a file for each model."""
        return self.root / "adversarial" / name

    def left_by(self, job_id: str) -> Iterator[Path]:
        """What any attempt of a job left: its result, and its adversarial images in a folder."""
        for folder in ("results", "adversarial"):
            yield from (self.root / folder).glob(f"{job_id}*")

    def unnamed(self, named: Mapping[str, Collection[str]]) -> Iterator[Path]:
        """What lies in a folder and has none of its names, and was left alone for a day: what an
        attempt wrote that lost its job before a row could name it.

        `named`: by folder, what files are called without their suffix; here and below.
        """
        forgotten = time.time() - WRITTEN_WITHIN_S
        for folder, names in named.items():
            for path in (self.root / folder).iterdir():
                with suppress(FileNotFoundError):  # another process tidies too
                    if named_as(folder, path.name) not in names and changed(path) < forgotten:
                        yield path

    def _entries(self) -> Iterator[Path]:
        for folder in _FOLDERS:
            yield from (self.root / folder).iterdir()

    def named(self, named: Mapping[str, Collection[str]]) -> Iterator[Path]:
        """The files and folders that have one of these names."""
        for folder, names in named.items():
            for path in sorted((self.root / folder).iterdir()):
                if named_as(folder, path.name) in names:
                    yield path

    def used_by(self, whose: str, ids: Callable[[], Collection[str]]) -> int:
        """Bytes on the disk of all that belongs to somebody, at most as old as half a minute.

        `ids`: finds the jobs, models and datasets that do; asked no more often either.
        """
        with self._sizes.lock:  # who comes meanwhile waits, and measures nothing
            known = self._sizes
            if time.monotonic() - known.at > _MEASURED_FOR_S:
                known.by_id, known.by_owner = self._measure(), {}
                known.at = time.monotonic()
            if whose not in known.by_owner:
                known.by_owner[whose] = sum(known.by_id.get(id_, 0) for id_ in ids())
            return known.by_owner[whose]

    def _measure(self) -> dict[str, int]:
        """Bytes by the id of the job, model, dataset or upload that they belong to."""
        found: dict[str, int] = {}
        for folder in _FOLDERS:
            for entry in os.scandir(self.root / folder):
                id_ = entry.name[:_ID]
                found[id_] = found.get(id_, 0) + size_of(entry)
        return found

    def checkpoints(self, job_id: str) -> Path:
        """The folder where a training job keeps what it needs to go on."""
        return self.root / "checkpoints" / job_id

    def attempts(self, job_id: str) -> set[Path]:
        """What attempts of a job left of checkpoints: a folder each."""
        folder = self.checkpoints(job_id)
        return set(folder.iterdir()) if folder.exists() else set()

    def with_checkpoints(self) -> set[str]:
        """What folders of checkpoints are called: the job's id, and for a part more behind it."""
        return {folder.name for folder in (self.root / "checkpoints").iterdir()}

    def all_checkpoints(self, job_id: str) -> list[Path]:
        """The folders of a job, and of its parts, whose names begin with its id."""
        names = self.with_checkpoints()
        return [self.checkpoints(name) for name in names if name.startswith(job_id)]

    def has_checkpoint(self, job_id: str) -> bool:
        """Whether a training job left one to go on from."""
        return any(self.checkpoints(job_id).rglob("*.pt"))

    def write_result(self, name: str, result: BaseModel) -> str:
        """Write and keep a job's result; returns the file's name for the row."""
        path = self.result(name)
        with atomic_write(path) as stream:
            stream.write(result.model_dump_json().encode())
        self.keep(path)
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


def size_of(entry: os.DirEntry[str]) -> int:
    """Of a file, or of all in a folder; what goes meanwhile has none."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return sum(map(size_of, os.scandir(entry.path)))
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def named_as(folder: str, name: str) -> str:
    """What a row calls a file of that name: checkpoints are its job's, also those of a part."""
    return name[:_ID] if folder == "checkpoints" else name.split(".")[0]


def changed(path: Path) -> float:
    """When a file, or any in a folder, was last written to. Raises FileNotFoundError where one goes
    meanwhile."""
    within = path.iterdir() if path.is_dir() else ()
    return max(os.path.getmtime(each) for each in (path, *within))


def remove(path: Path) -> None:
    """Remove a file or a folder; what is not there, or cannot be removed, holds up nothing else."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
