"""Where the attempts of a job keep what it needs to go on: each in a folder of its own.

A worker that lost the job, and does not know it yet, may write once more. It writes to the folder
of its own fence, and whoever goes on takes the highest fence that left something whole.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from app.errors import Damaged, StorageAway, trouble
from app.store.files import atomic_write
from worker.jobs.context import JobContext
from worker.jobs.save_pace import SavePace

LAST = "last.pt"
"""The file that makes a save whole: it is written last, and atomically."""
UNREADABLE = (
    OSError, EOFError, pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError,
    AttributeError, zipfile.BadZipFile, Damaged,
)  # fmt: skip
"""What finding and reading a save raises that is cut short or damaged, or that has other entries.
"""


def latest(folder: Path) -> Path:
    """Of all attempts of a job, whose folder is given, the latest that left something whole.

    The job's folder itself where there is none: there earlier versions kept it.
    """
    numbered = [path for path in folder.glob(f"*/{LAST}") if path.parent.name.isdigit()]
    return max(numbered, key=lambda path: int(path.parent.name)).parent if numbered else folder


def read(path: Path) -> dict[str, Any]:
    """A file of `write`, its tensors on the CPU. Raises what `UNREADABLE` names."""
    with zipfile.ZipFile(path) as packed:  # torch reads it without a look at its checksums
        if (entry := packed.testzip()) is not None:
            raise zipfile.BadZipFile(f"{entry} is not what was written")
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def write(path: Path, value: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all. Raises OSError."""
    with atomic_write(path) as stream:
        try:
            torch.save(value, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides what its stream raised
                raise error.__context__ from error
            raise


class Saves:
    """Those of one job, or of a part of it, by the attempt that has it now.

    Where machines share a storage, a save goes there beside the work, which waits for nothing but
    this machine's disk; no other save is due before it is there.
    """

    def __init__(self, context: JobContext, pace: SavePace, part: str = "") -> None:
        """`part`: of the job, where parts of it save for themselves."""
        self._context, self._pace = context, pace
        self._files, self._job = context.lab.files, context.claim.job_id + part
        self._own = self._files.checkpoints(self._job) / str(context.claim.fence)
        self._failing = False
        self._sender: ThreadPoolExecutor | None = None
        self._sent: Future[None] | None = None

    @property
    def latest(self) -> Path:
        """The folder to go on from."""
        return latest(self._files.here(self._files.checkpoints(self._job)))

    @contextmanager
    def until_sent(self) -> Iterator[None]:
        """Around the work: what is on its way when it ends has arrived. Raises LeaseLost."""
        with ThreadPoolExecutor(1, thread_name_prefix="saves") as self._sender:
            yield
        self._see_to_sent()

    def when_due(self, save: Callable[[Path], None]) -> None:
        """Call `save` with this attempt's folder if it is time to. Raises LeaseLost."""
        if self._sent is not None:
            if not self._sent.done():
                return
            self._see_to_sent()
        if not self._pace.is_due():
            return
        with self._pace.saving():
            written = self._write(save)
        if not written:
            return
        if self._files.is_shared and self._sender is not None:
            self._sent = self._sender.submit(self._keep)
        elif self._kept(self._keep):
            self._context.got_further()

    def now(self, save: Callable[[Path], None]) -> bool:
        """The same at once; whether it could be written and kept.

        Where it could not, the job goes on, and the save before is as whole as it was.
        Raises LeaseLost.
        """
        self._see_to_sent()
        return self._write(save) and self._kept(self._keep)

    def _write(self, save: Callable[[Path], None]) -> bool:
        self._context.flush()  # who goes on from here will not report it again
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            save(self._own)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _keep(self) -> None:
        """Raises StorageAway, OSError."""
        self._files.keep(self._own)
        for other in self._files.attempts(self._job):
            if not other.name.isdigit() or int(other.name) < self._context.claim.fence:
                self._files.drop(other)

    def _see_to_sent(self) -> None:
        sent, self._sent = self._sent, None
        if sent is not None and self._kept(sent.result):
            self._context.got_further()

    def _kept(self, keep: Callable[[], None]) -> bool:
        try:
            keep()
        except (OSError, StorageAway) as error:
            self._warn(error)
            return False
        self._failing = False
        return True

    def _warn(self, error: OSError | StorageAway) -> None:
        """Once, until one can be written again."""
        if self._failing:
            return
        self._failing = True
        if isinstance(error, StorageAway):
            why = error.detail.rstrip(".")
        else:
            why = "the disk is full" if trouble(error) else error.strerror or str(error)
        self._context.warn(
            f"The checkpoint cannot be written: {why}. The job goes on and tries again; should it "
            "be interrupted before, it goes on from the checkpoint before."
        )
