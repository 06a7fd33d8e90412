"""The commands of the lab's processes; docker-compose.yml and docs/running.md have the same."""

from __future__ import annotations

from app.contracts.jobs import Queue

LOOPBACK = "127.0.0.1"
"""The lab has no login, so this is the only address it listens on."""

_STREAMS_END_AFTER_S = 3
"""How long an open event stream may hold up the end of the web process."""

_WARM = frozenset({Queue.LIVE})
"""Queues whose jobs take a second: their process keeps its models. Others start afresh each job."""


def web_command(port: int) -> list[str]:
    """The arguments of `python` that serve pages and API."""
    return [
        *("-m", "uvicorn", "--factory", "app.main:create_app"),
        *("--host", LOOPBACK, "--port", str(port)),
        *("--timeout-graceful-shutdown", str(_STREAMS_END_AFTER_S)),
        *("--log-level", "warning"),
    ]


def worker_command(queue: Queue) -> list[str]:
    """The arguments of `python` that work on one queue, one job at a time."""
    afresh = [] if queue in _WARM else ["--max-tasks-per-child", "1"]
    return [
        *("-m", "celery", "-A", "worker.celery_app:app", "-q", "worker"),
        *("-Q", queue.value, "-n", f"{queue}@%h", "-c", "1", "--prefetch-multiplier", "1"),
        *afresh,
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    ]
