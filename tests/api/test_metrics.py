"""The figures for Prometheus: complete, true, and as cheap in a large lab as in a small one."""

from __future__ import annotations

import httpx
import pytest

from app.contracts.jobs import JobKind, JobStatus
from app.services.lab import Lab
from app.settings import VERSION
from tests.plugins.statements import statements
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.examples import add_job, train_params

parser = pytest.importorskip("prometheus_client.parser")


def figures(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """By name and labels, as Prometheus reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = parser.text_string_to_metric_families(answer.text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_they_count_what_there_is(client: httpx.Client, lab: Lab) -> None:
    for _ in range(3):
        add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
    add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.QUEUED, sent_at=9e9)
    add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED, deleted_at=1.0)
    stock_dataset(lab)
    stock_model(lab)
    stock_model(lab, name="Another")
    found = figures(client)
    assert found["lab_info", VERSION] == 1
    assert found["lab_jobs", "train", "failed"] == 3
    assert found["lab_jobs", "train", "queued"] == 1
    assert (found["lab_queue_waiting", "train"], found["lab_queue_waiting", "live"]) == (1, 0)
    assert found["lab_queue_workers", "train"] == 0
    assert (found["lab_models",], found["lab_datasets",]) == (2, 1)
    assert found["lab_database_up",] == found["lab_broker_up",] == 1
    assert 0 < found["lab_disk_free_bytes",] < found["lab_disk_size_bytes",]


def test_they_cost_the_same_however_much_there_is(lab: Lab) -> None:
    from app.services.monitoring import exposition

    with statements() as few:
        exposition(lab)
    for _ in range(20):
        add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED)
        stock_model(lab)
    with statements() as many:
        exposition(lab)
    assert len(many) == len(few)
