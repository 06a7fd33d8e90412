"""Has another process read files that hold many images (`worker.jobs.unpacking`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker.data import DatasetError

UNPACKING_S = 900
"""How long it may take, on the clock and on the processor."""
_SPARE_MB = 1024
_SIZES = 6
"""Times the size of the files: a compressed .mat is held whole, and so is what is made of it."""
_POLL_S = 0.2
_ROOT = Path(__file__).resolve().parents[2]
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


def unpack(
    kind: str, files: Sequence[tuple[str, Path]], target: Path, *, check: Callable[[], None]
) -> None:
    """Read files of one kind into a folder; `check` is called again and again.

    Raises DatasetError with what is wrong, and what `check` raises.
    """
    megabytes = _SPARE_MB + _SIZES * sum(path.stat().st_size for _, path in files) // 2**20
    pairs = [text for name, path in files for text in (name, str(path))]
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.jobs.unpacking", kind, str(target), str(megabytes),
         str(UNPACKING_S), *pairs],
        cwd=_ROOT,
        env={name: os.environ[name] for name in _NEEDED if name in os.environ}
        | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait(process, check)
        assert process.stdout is not None
        said = process.stdout.read(2**16)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
    _understood(process.returncode, said)


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> None:
    deadline = time.monotonic() + UNPACKING_S
    while True:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            check()
            if time.monotonic() < deadline:
                continue
            raise DatasetError(
                f"Reading the file took more than {UNPACKING_S // 60} minutes.",
                "Import fewer images.",
            ) from None
        return


def _understood(code: int, said: bytes) -> None:
    """Raises DatasetError where the process did not do its work."""
    try:
        reply: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        raise DatasetError(
            f"The file made its reader break down (exit code {code}).",
            "It is damaged, or memory ran out: upload it again, or import fewer images.",
        ) from None
    if "detail" in reply:
        raise DatasetError(str(reply["detail"])[:1000], str(reply["hint"])[:500])
