"""Where the attempts of a job keep what it needs to go on: each in a folder of its own.

A worker that lost the job, and does not know it yet, may write once more. It writes to the folder
of its own fence, and whoever goes on takes the highest fence that left something whole.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app.errors import trouble
from app.store.files import atomic_write, remove
from worker.jobs.context import JobContext
from worker.jobs.save_pace import SavePace

LAST = "last.pt"
"""The file that makes a save whole: it is written last, and atomically."""
UNREADABLE = (
    OSError, EOFError, pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError,
    AttributeError,
)  # fmt: skip
"""What reading a save raises that is cut short, or that has other entries."""


def latest(folder: Path) -> Path:
    """Of all attempts of a job, whose folder is given, the latest that left something whole.

    The job's folder itself where there is none: there earlier versions kept it.
    """
    numbered = [path for path in folder.glob(f"*/{LAST}") if path.parent.name.isdigit()]
    return max(numbered, key=lambda path: int(path.parent.name)).parent if numbered else folder


def read(path: Path) -> dict[str, Any]:
    """A file of `write`, its tensors on the CPU. Raises what `UNREADABLE` names."""
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
    """Those of one job, or of a part of it, by the attempt that has it now."""

    def __init__(self, context: JobContext, pace: SavePace, part: str = "") -> None:
        """`part`: of the job, where parts of it save for themselves."""
        self._context, self._pace = context, pace
        self._folder = context.lab.files.checkpoints(context.claim.job_id) / part
        self._failing = False

    @property
    def latest(self) -> Path:
        """The folder to go on from."""
        return latest(self._folder)

    def when_due(self, save: Callable[[Path], None]) -> None:
        """Call `save` with this attempt's folder if it is time to. Raises LeaseLost."""
        if self._pace.is_due():
            with self._pace.saving():
                whole = self.now(save)
            if whole:
                self._context.got_further()

    def now(self, save: Callable[[Path], None]) -> bool:
        """The same at once; whether it could be written.

        Where it could not, the job goes on, and the save before is as whole as it was.
        Raises LeaseLost.
        """
        own = self._folder / str(self._context.claim.fence)
        try:
            own.mkdir(parents=True, exist_ok=True)
            save(own)
        except OSError as error:
            self._warn(error)
            return False
        self._failing = False
        for other in self._folder.iterdir():
            if not other.name.isdigit() or int(other.name) < self._context.claim.fence:
                remove(other)
        return True

    def _warn(self, error: OSError) -> None:
        """Once, until one can be written again."""
        if self._failing:
            return
        self._failing = True
        why = "the disk is full" if trouble(error) else error.strerror or str(error)
        self._context.warn(
            f"The checkpoint cannot be written: {why}. The job goes on and tries again; should it "
            "be interrupted before, it goes on from the checkpoint before."
        )
