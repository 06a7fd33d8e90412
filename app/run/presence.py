"""`python -m app.run.presence QUEUE`: exit code 0 when a worker serves the queue.

The health check of a worker's container.
"""

from __future__ import annotations

import sys

from app.contracts.jobs import Queue
from app.queue import Broker
from app.settings import settings


def main(arguments: list[str]) -> int:
    workers = Broker(settings()).workers()
    return 0 if workers is not None and workers[Queue(arguments[0])] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
