"""What a worker's parent knows of the child that runs jobs: which one, and whether it lives.

It is shared memory, since the parent opens no database: the child beats, and says which job it has.
The parent ends a child that stopped beating, and one that lost its job and does not end by itself.
Where a child had a job when it was ended, by whomever, a process of its own (`worker.obituary`)
tells of it, so that the job goes back to the queue at once and says what befell it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path

from sqlalchemy.orm import Session

from app.store.db import Database, Turn
from app.store.jobs import Claim

_log = logging.getLogger(__name__)

BEAT_EVERY_S = 1.0
LETS_WRITE_WITHIN_S = 8.0
"""A silent child that may hold SQLite's turn to write is ended then, unless it only waits for the
processor: before others, who wait for it for 15 seconds (`app.store.db`), give up."""
LEAVES_WITHIN_S = 20.0
"""A child that lost its job notices at its next step; one that takes longer is ended."""


class Pulse:
    """One child's at a time. Made before the fork."""

    def __init__(self) -> None:
        # Without locks: a child that is ended may hold one.
        self._job = RawArray("c", 32)
        self._pid, self._fence = RawValue("q", 0), RawValue("q", 0)
        # When it last beat, and when it lost the job, by a clock that all processes share.
        self._beat, self._lost = RawValue("d", 0.0), RawValue("d", 0.0)
        self._gflops = RawValue("d", 0.0)
        self._writes, self._counting = RawValue("q", 0), threading.Lock()

    def begin(self) -> None:
        """In the child, before all else: beat until its end. One that waits for a job can hang as
        well, and would hold up its queue."""
        self._job.value, self._lost.value, self._writes.value = b"", 0.0, 0
        self._beat.value = time.monotonic()
        self._pid.value = os.getpid()
        threading.Thread(target=self._go_on, name="pulse", daemon=True).start()

    def _go_on(self) -> None:
        while True:
            time.sleep(BEAT_EVERY_S)
            self._beat.value = time.monotonic()

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """In the child, while it has the job."""
        self._fence.value, self._lost.value = claim.fence, 0.0
        self._job.value = claim.job_id.encode()
        try:
            yield
        finally:
            self._job.value, self._lost.value = b"", 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """In the child, in one of its threads: while it has the turn to write in SQL, or waits for
        it."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._counting:
            self._writes.value += more

    @property
    def silent_s(self) -> float:
        """In the parent: for how long the child has not beaten; 0 where there is none."""
        return time.monotonic() - self._beat.value if self._pid.value else 0.0

    @property
    def gflops(self) -> float | None:
        """How fast its device is (`worker.offer`), as one of the children measured; None before."""
        return self._gflops.value or None

    def measured(self, gflops: float) -> None:
        """In a child."""
        self._gflops.value = gflops

    def lose(self) -> None:
        """In the child: the job is another worker's now."""
        self._lost.value = time.monotonic()

    def end_hung(self, lease_s: float) -> bool:
        """In the parent: end a child that does not live any more; whether it did."""
        pid, silent_s = self._pid.value, self.silent_s
        holds_up = silent_s > LETS_WRITE_WITHIN_S and self._writes.value > 0
        silent = silent_s > lease_s or (holds_up and not _wants_the_processor(pid))
        stays = 0.0 < self._lost.value < time.monotonic() - LEAVES_WITHIN_S
        if not pid or not (silent or stays):
            return False
        _log.warning("the child %d hangs and is ended", pid)
        self._pid.value = 0  # told of below, and not once more
        with suppress(ProcessLookupError):  # it ended since
            os.kill(pid, signal.SIGKILL)
        if silent:
            self._tell("it had hung, and was ended")
        return True

    def mourn(self, pid: int, exitcode: int) -> None:
        """In the parent: a child is gone."""
        if pid != self._pid.value:
            return
        self._pid.value = 0
        by = f"ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else "its process ended"
        self._tell(by)

    def _tell(self, how: str) -> None:
        job, fence = self._job.value.decode(), str(self._fence.value)
        if not job:
            return
        command = [sys.executable, "-m", "worker.obituary", job, fence, how]
        threading.Thread(target=subprocess.run, args=(command,), daemon=True).start()


def _wants_the_processor(pid: int) -> bool:
    """Whether a thread of a process runs, or would if it were its turn, as on a machine with too
    much to do; where the system lists that."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread ended since
            if stat.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


class WatchedDatabase(Database):
    """A child's, whose parent ends it sooner where it hangs in the midst of a write."""

    def __init__(self, url: str, pulse: Pulse, *, patience_s: float) -> None:
        super().__init__(url, patience_s=patience_s)
        self._pulse = pulse

    @contextmanager
    def writing(self, turn: Turn | None = None) -> Iterator[Session]:
        with self._pulse.writing(), super().writing(turn) as session:
            yield session
