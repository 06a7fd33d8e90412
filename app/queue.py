"""The way to the workers: send a task by name, with an id and nothing else.

The only file of `app` that knows Celery. Nothing that Redis holds matters: SQL is the truth.
`python -m app.queue QUEUE` ends with code 0 when a worker of this machine serves the queue: the
health check of a worker's container, which is a machine of its own.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import redis
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from app.contracts.jobs import (
    BELL,
    DRAINED,
    PRESENCE_TTL_S,
    TASK_OF,
    Queue,
    offer_key,
    presence_key,
    queue_of_gpus,
    silence_key,
)
from app.contracts.placement import Needs, Offer, read_offer
from app.settings import Settings, settings

_SOCKET = {"socket_connect_timeout": 2.0, "socket_timeout": 5.0}


ANYTHING = Needs()
"""What any worker has."""


def name_of(queue: Queue, needs: Needs) -> str:
    """What the broker calls the queue of a job."""
    return queue_of_gpus(queue) if needs.gpus else queue.value


@dataclass(frozen=True)
class Present:
    """A worker that was heard of lately."""

    name: str
    queues: tuple[Queue, ...] = ()
    heard_at: float = 0.0
    silent: bool = False
    """Whether it is there, and the child that runs its jobs hangs."""
    offer: Offer | None = None
    """None where it says nothing of itself that this version understands."""


def serving(workers: Iterable[Present]) -> dict[Queue, int]:
    """How many of the workers serve each queue."""
    counts = Counter(queue for each in workers if not each.silent for queue in each.queues)
    return {queue: counts[queue] for queue in Queue}


def _put_together(
    found: Iterable[tuple[tuple[str, Queue], list[tuple[bytes, float]]]],
) -> dict[str, Present]:
    """By name; a worker may serve several queues."""
    workers: dict[str, Present] = {}
    for (key, queue), members in found:
        for name, heard_at in ((raw.decode(errors="replace"), at) for raw, at in members):
            each = workers.get(name, Present(name))
            workers[name] = replace(
                each,
                queues=tuple(dict.fromkeys((*each.queues, queue))),
                heard_at=max(each.heard_at, heard_at),
                silent=each.silent or key == silence_key(queue),
            )
    return dict(sorted(workers.items()))


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

    def send(self, job_id: str, queue: Queue, needs: Needs = ANYTHING) -> bool:
        """Tell a queue about a job; whether the broker took the message."""
        name = name_of(queue, needs)
        try:
            self._celery.send_task(TASK_OF[queue], args=[job_id], queue=name, retry=False)
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

    def waiting(self, queue: Queue, needs: Needs = ANYTHING) -> int | None:
        """Messages that no worker has fetched; None when the broker does not answer."""
        try:
            return int(self._redis.llen(name_of(queue, needs)))
        except RedisError:
            return None

    def present(self) -> tuple[Present, ...] | None:
        """The workers that were heard of lately, by name; None when the broker does not answer."""
        keys = [(key(queue), queue) for queue in Queue for key in (presence_key, silence_key)]
        since = time.time() - PRESENCE_TTL_S
        pipe = self._redis.pipeline()  # one round trip, of one moment
        for key, _ in keys:
            pipe.zrangebyscore(key, since, "+inf", withscores=True)
        for key, _ in keys:
            pipe.sort(key, by="nosort", get=["#", offer_key("*")], groups=True)
        try:
            told = pipe.execute()
        except RedisError:
            return None
        found = _put_together(zip(keys, told[: len(keys)], strict=True))
        said = {
            name.decode(errors="replace"): text for of in told[len(keys) :] for name, text in of
        }
        return tuple(
            replace(each, offer=read_offer(said.get(each.name))) for each in found.values()
        )

    def workers(self) -> dict[Queue, int] | None:
        """How many workers serve each queue; None when the broker does not answer."""
        present = self.present()
        return None if present is None else serving(present)

    def tell_drained(self, names: Collection[str]) -> None:
        """Let these workers, and no others, hear of no job: for as long as this is said again."""
        pipe = self._redis.pipeline()
        pipe.delete(DRAINED)
        if names:
            pipe.sadd(DRAINED, *names)
            pipe.expire(DRAINED, round(PRESENCE_TTL_S))
        with suppress(RedisError):
            pipe.execute()

    def close(self) -> None:
        self._celery.close()
        self._redis.close()


def main(arguments: list[str]) -> int:
    """The exit code: 0 when a worker of this machine serves the queue that is named."""
    here = f"@{socket.gethostname()}"
    own = [each for each in Broker(settings()).present() or () if each.name.endswith(here)]
    return 0 if serving(own)[Queue(arguments[0])] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
