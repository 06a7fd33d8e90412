"""The way to the workers: send a task by name, with an id and nothing else.

The only file of `app` that knows Celery. Nothing that Redis holds matters: SQL is the truth.
`python -m app.queue QUEUE` ends with code 0 when a worker serves the queue: the health check of a
worker's container.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import redis
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from app.contracts.jobs import BELL, PRESENCE_TTL_S, TASK_OF, Queue, presence_key, silence_key
from app.settings import Settings, settings

_SOCKET = {"socket_connect_timeout": 2.0, "socket_timeout": 5.0}


class Broker:
    """Sends wake-ups. A failure to send is no error: the reconciler sends again."""

    def __init__(self, settings: Settings) -> None:
        if settings.redis_url is None:
            raise ValueError("LAB_REDIS_URL is not set; `python -m app` starts a broker itself")
        self._celery = Celery(broker=settings.celery_url, set_as_current=False)
        self._celery.conf.update(
            task_ignore_result=True,
            # Who submits does not wait for a broker that is away: the reconciler tries again.
            broker_transport_options=_SOCKET | {"max_retries": 0},
        )
        self._redis = redis.Redis.from_url(settings.broker_url, **_SOCKET)

    def send(self, job_id: str, queue: Queue) -> bool:
        """Tell a queue about a job; whether the broker took the message."""
        try:
            self._celery.send_task(TASK_OF[queue], args=[job_id], queue=queue.value, retry=False)
        except (OSError, RedisError, KombuError):
            return False
        return True

    def ring(self, job_id: str) -> None:
        """Tell whoever follows the job that its events grew. Nobody has to hear it."""
        try:
            self._redis.publish(BELL, job_id)
        except RedisError:
            return

    def answers(self) -> bool:
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def waiting(self, queue: Queue) -> int | None:
        """Messages that no worker has fetched; None when the broker does not answer."""
        try:
            return int(self._redis.llen(queue.value))
        except RedisError:
            return None

    def workers(self) -> dict[Queue, int] | None:
        """How many workers serve each queue; None when the broker does not answer."""
        return self._counted(presence_key)

    def silent(self) -> dict[Queue, int] | None:
        """How many workers of each queue hang; None when the broker does not answer."""
        return self._counted(silence_key)

    def _counted(self, key: Callable[[Queue], str]) -> dict[Queue, int] | None:
        since = time.time() - PRESENCE_TTL_S
        pipe = self._redis.pipeline(transaction=False)
        for queue in Queue:
            pipe.zcount(key(queue), since, "+inf")
        try:
            return dict(zip(Queue, pipe.execute(), strict=True))
        except RedisError:
            return None

    def close(self) -> None:
        self._celery.close()
        self._redis.close()


def main(arguments: list[str]) -> int:
    """The exit code: 0 when a worker serves the queue that is named."""
    workers = Broker(settings()).workers()
    return 0 if workers is not None and workers[Queue(arguments[0])] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
