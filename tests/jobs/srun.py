"""Stands in for Slurm's `srun`: `python srun.py --kill-on-bad-exit=1 COMMAND...` on two "nodes".

Each is a process on this machine that is told who it is as Slurm tells it. SIGTERM is passed on to
all, and one that fails ends the others. Beside this file its process's number is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NODES = 2


def main(option: str, *command: str) -> int:
    assert option == "--kill-on-bad-exit=1"
    Path(os.environ["SRUN_PID"]).write_text(str(os.getpid()))
    tasks = [subprocess.Popen(command, env=os.environ | _told(node)) for node in range(NODES)]

    def end(*_: object) -> None:
        for task in tasks:
            if task.poll() is None:
                task.terminate()

    signal.signal(signal.SIGTERM, end)
    failed = 0
    while any(task.poll() is None for task in tasks):
        bad = [task.returncode for task in tasks if task.poll()]
        if bad and not failed:
            failed = bad[0]
            time.sleep(1)
            end()
        time.sleep(0.1)
    return failed or max(task.returncode for task in tasks)


def _told(node: int) -> dict[str, str]:
    return {"SLURM_NODEID": str(node), "SLURM_PROCID": str(node), "SLURM_LOCALID": "0"}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
