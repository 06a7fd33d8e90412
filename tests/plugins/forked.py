"""Commands and functions in processes of their own that need not import torch first.

They are forks of a server that has imported the large libraries, and nothing of this project. What
a fork runs, says and returns is what `python -m` would; only its start takes 0.2 s instead of 3.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch", "torchvision", "sqlalchemy.orm", "alembic", "pydantic"])


def python_m(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    before: Callable[[], None] | None = None,
    timeout_s: float = 600,
) -> subprocess.CompletedProcess[str]:
    """`python -m module *arguments` with more `environment`; `before` is called in it first."""
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, "stdout"), Path(folder, "stderr")]
        process = _FORKS.Process(
            target=_run,
            args=([module, *arguments], os.environ | environment, before, said),
        )
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([module, *arguments], timeout_s)
        return subprocess.CompletedProcess(
            [module, *arguments], process.exitcode, *(file.read_text() for file in said)
        )


def apart(call: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process that calls a function of a module, with as many threads as this one has; it is
    started. No fork of this one: where torch has begun threads for gradients, those have none."""
    import torch

    process = _FORKS.Process(target=_call, args=(torch.get_num_threads(), call, arguments))
    process.start()
    return process


def _call(threads: int, call: Callable[..., Any], arguments: Sequence[Any]) -> None:
    import torch

    torch.set_num_threads(threads)
    call(*arguments)


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    before: Callable[[], None] | None,
    said: Sequence[Path],
) -> None:
    for file, stream in zip(said, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    os.chdir(_ROOT)
    os.environ.clear()
    os.environ.update(environment)
    if before is not None:
        before()
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
