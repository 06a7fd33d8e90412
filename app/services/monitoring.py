"""The lab as Prometheus reads it: figures of one moment, made when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from time import time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from app.contracts.jobs import Queue
from app.contracts.params import Device
from app.contracts.views import Health
from app.services.lab import Lab
from app.services.upkeep import health
from app.settings import VERSION
from app.store import catalogue, job_queries, placement
from app.store.placement import Waiting

_KINDS_OF_WAIT = [(queue.value, device.value) for queue, device in product(Queue, Device)]


def exposition(lab: Lab) -> bytes:
    """All figures in Prometheus's text format. Where the database does not answer, those that need
    none; `lab_database_up` says so.
    """
    registry = CollectorRegistry()
    registry.register(_Moment(lab))
    text: bytes = generate_latest(registry)
    return text


class _Moment:
    """As many queries however much the lab holds."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def collect(self) -> Iterator[Metric]:
        lab, state = self._lab, health(self._lab)
        yield _labelled("lab_info", "The lab's version.", [((VERSION,), 1)], "version")
        yield _plain("lab_database_up", "Whether the database answers.", state.database)
        yield _plain("lab_broker_up", "Whether the broker answers.", state.broker)
        disk = shutil.disk_usage(lab.settings.data_dir)
        yield _plain("lab_disk_free_bytes", "Free where the data folder is.", disk.free)
        yield _plain("lab_disk_size_bytes", "Size of what holds the data folder.", disk.total)
        if not state.database:
            return
        yield from _queues(state)
        yield from _waiting(placement.waiting(lab.database))
        counts = job_queries.by_kind(lab.database)
        yield _labelled(
            "lab_jobs", "Jobs that are not in the bin.", counts.items(), "kind", "status"
        )
        models, datasets = catalogue.counts(lab.database)
        yield _plain("lab_models", "Models that are not in the bin.", models)
        yield _plain("lab_datasets", "Datasets that are not in the bin.", datasets)
        if state.webhook is not None:
            waiting = state.webhook.waiting
            yield _plain("lab_webhook_waiting", "Ends of jobs still to be announced.", waiting)


def _queues(state: Health) -> Iterator[Metric]:
    for name, said in (
        ("waiting", "Jobs that wait for a worker."),
        ("running", "Jobs that a worker runs."),
        ("workers", "Workers that serve the queue."),
        ("drained", "Workers of these that take no new job."),
    ):
        values = [((each.queue.value,), getattr(each, name)) for each in state.queues]
        yield _labelled(f"lab_queue_{name}", said, values, "queue")


def _waiting(waits: Sequence[Waiting]) -> Iterator[Metric]:
    """By queue and by what it takes to run them: what a scaler adds workers by."""
    counts, ages, now = dict.fromkeys(_KINDS_OF_WAIT, 0), dict.fromkeys(_KINDS_OF_WAIT, 0.0), time()
    for each in waits:
        of = each.queue.value, each.needs.device.value
        counts[of] += each.count
        ages[of] = max(ages[of], now - each.since)
    labels = "queue", "need"
    said = "Jobs that wait, by queue and by the worker that they need."
    yield _labelled("lab_queue_waiting_by_need", said, counts.items(), *labels)
    said = "How long the one of them has waited that waits for the longest time."
    yield _labelled("lab_queue_age_seconds", said, ages.items(), *labels)


def _plain(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(name, said, value=float(value))


def _labelled(
    name: str, said: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family
