"""The lab as Prometheus reads it: figures of one moment, made when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from app.contracts.views import Health
from app.services.lab import Lab
from app.services.upkeep import health
from app.settings import VERSION
from app.store import catalogue, job_queries


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
    ):
        values = [((each.queue.value,), getattr(each, name)) for each in state.queues]
        yield _labelled(f"lab_queue_{name}", said, values, "queue")


def _plain(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(name, said, value=float(value))


def _labelled(
    name: str, said: str, values: Iterable[tuple[tuple[str, ...], int]], *labels: str
) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family
