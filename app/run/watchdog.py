"""A process that outlives the supervisor by moments: what a killed supervisor leaves, it ends.

Each line on its standard input names the groups of the running processes, by the order in which
they end: `[[web], [workers], [broker]]`. When the supervisor is gone, by whatever way, the input
ends. It also holds the data folder's lock, so that no second lab starts before the first is gone.
"""

from __future__ import annotations

import json
import signal
import sys

from app.run.groups import stop

GRACE_S = 20.0
"""How long a worker may take to put its job back with a checkpoint."""


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    stages: list[list[int]] = []
    for line in sys.stdin:
        stages = json.loads(line)
    for pids in stages:
        stop(pids, grace_s=GRACE_S)


if __name__ == "__main__":
    main()
