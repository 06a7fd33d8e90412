"""The Celery side of a worker: JSON only, one task at a time, never acknowledged.

SQL is the truth about jobs, so a lost or repeated message changes nothing. This module runs in the
parent of the worker's child processes: no database connection may come before the fork, and of
torch nothing but its import.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from functools import lru_cache
from multiprocessing import Event
from typing import Any

import redis
from celery import Celery, signals
from redis.exceptions import RedisError

import journal
from app.contracts.jobs import (
    BELL,
    DRAINED,
    PRESENCE_EVERY_S,
    PRESENCE_TTL_S,
    SILENT_AFTER_S,
    Queue,
    offer_key,
    presence_key,
    queue_of_gpus,
    silence_key,
)
from app.settings import settings
from app.store import bucket
from app.store.files import keep_private
from app.store.shared_files import files_of
from worker.jobs.context import STORAGE_PATIENCE_S, WorkerLab
from worker.memory import keep_freed_memory
from worker.offer import called, facts
from worker.pulse import BEAT_EVERY_S, Pulse, WatchedDatabase

_log = logging.getLogger(__name__)
if settings().storage_url is not None and not bucket.is_installed():
    sys.exit(bucket.MISSING)
_SOCKET = {"socket_connect_timeout": 2.0, "socket_timeout": 5.0}

app = Celery("worker", broker=settings().celery_url, include=["worker.tasks"])
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    # A child that is slow to begin, on a busy machine, is not a dead one.
    worker_proc_alive_timeout=120.0,
    # A broker whose host is gone closes no connection, and a worker that waits for messages on one
    # would hear of none. Nothing is to be kept of a message once it is here: an acknowledgement
    # that the broker must hear of, and does not since it is down, would leave the worker deaf.
    broker_transport_options=_SOCKET | {"health_check_interval": 10, "ack_emulation": False},
)

keep_freed_memory()
# Read now: by the end of a long job the checkout may have moved on from the code that runs; and a
# child need not ask for the GPUs again.
facts()

pulse = Pulse()
"""Of the child that runs jobs; the parent listens."""

_name = facts().name
"""What this worker is called: `train@host` once Celery has said so, before any child."""

stopping = Event()
"""Set in the parent when the worker is asked to stop; its child sees it at the next step."""


@lru_cache
def lab() -> WorkerLab:
    """This child's lab; the first task opens it."""
    config = settings()
    keep_private(config.data_dir)
    database = WatchedDatabase(config.sql_url, pulse, patience_s=60.0)
    files = files_of(config, database, patience_s=STORAGE_PATIENCE_S)
    files.prepare()
    bell = redis.Redis.from_url(config.broker_url, **_SOCKET)

    def ring(job_id: str) -> None:
        try:
            bell.publish(BELL, job_id)
        except RedisError:
            _log.debug("the bell was not heard")

    return WorkerLab(config, database, files, ring, pulse=pulse, offer=called(_name))


@signals.setup_logging.connect
def _write_records(**_: Any) -> None:
    """Instead of Celery's own."""
    journal.set_up(settings().log)


@signals.worker_process_init.connect
def _begin(**_: Any) -> None:
    pulse.begin()


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    stopping.set()


@signals.celeryd_after_setup.connect
def _set_up(sender: str, instance: Any, **_: Any) -> None:
    """A worker with a GPU hears of the jobs that need one, too."""
    global _name
    _name = sender
    if facts().gpus:
        for name in instance.app.amqp.queues.consume_from.copy():
            instance.app.amqp.queues.select_add(queue_of_gpus(Queue(name)))


@signals.worker_ready.connect
def _announce(sender: Any, **_: Any) -> None:
    """Say every few seconds that this worker serves its queues, in the parent's own thread."""
    threading.Thread(target=_stay_present, args=(sender,), daemon=True).start()
    threading.Thread(target=_end_hung_children, daemon=True).start()
    # Once the loop runs: it sets handlers of its own before.
    sender.hub.call_soon(_mourn_children, sender.pool._pool)


def _end_hung_children() -> None:
    while True:
        pulse.end_hung(settings().lease_s)
        time.sleep(BEAT_EVERY_S)


def _mourn_children(pool: Any) -> None:
    """Celery tells of a child that is gone only in words; its pool has the exit code."""
    clean_up = pool.on_process_down

    def down(process: Any) -> None:
        pulse.mourn(process.pid, process.exitcode)
        clean_up(process)

    pool.on_process_down = down


def _stay_present(consumer: Any) -> None:
    names = list(consumer.app.amqp.queues.consume_from)
    queues = [queue for queue in Queue if queue in names]
    connection = redis.Redis.from_url(settings().broker_url, **_SOCKET)
    hears = True
    while not stopping.is_set():
        try:
            for queue in queues:
                _say_present(connection, queue)
            offer = called(_name).model_copy(update={"gflops": pulse.gflops})
            connection.set(offer_key(_name), offer.model_dump_json(), ex=round(PRESENCE_TTL_S))
            if hears is bool(connection.sismember(DRAINED, _name)):
                hears = not hears
                consumer.call_soon(_listen, consumer, names, hears)
        except RedisError:
            _log.debug("the broker does not answer")
        stopping.wait(PRESENCE_EVERY_S)
    connection.delete(offer_key(_name))
    for queue in queues:
        connection.zrem(presence_key(queue), _name)


def _listen(consumer: Any, queues: list[str], hears: bool) -> None:
    """Leave the messages to others while this worker may take no job, which SQL says to whoever
    claims one."""
    change = consumer.add_task_queue if hears else consumer.cancel_task_queue
    for queue in queues:
        change(queue)


def _say_present(connection: redis.Redis, queue: Queue) -> None:
    now, sets = time.time(), [presence_key(queue), silence_key(queue)]
    here, gone = reversed(sets) if pulse.silent_s > SILENT_AFTER_S else sets
    connection.zadd(here, {_name: now})
    connection.zrem(gone, _name)
    for each in sets:
        connection.zremrangebyscore(each, 0, now - PRESENCE_TTL_S)
