"""Room for jobs: in the queues, and on the disk."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from app.contracts.jobs import JobKind
from app.contracts.params import AblationParams, Recipe, TrainParams
from app.errors import TooMany, Unavailable
from app.services import jobs
from app.services.lab import Lab
from tests.plugins.stock import stock_dataset


def limited(lab: Lab, **limits: int) -> Lab:
    return replace(lab, settings=lab.settings.model_copy(update=limits))


def test_more_jobs_than_may_wait_are_refused_until_one_is_over(lab: Lab) -> None:
    lab = limited(lab, max_waiting=2)
    params = TrainParams(name="Net", dataset=stock_dataset(lab))
    first, _ = (jobs.submit(lab, JobKind.TRAIN, params) for _ in range(2))
    with pytest.raises(TooMany, match="2 jobs are not over yet; the lab takes at most 2") as raised:
        jobs.submit(lab, JobKind.TRAIN, params)
    assert "LAB_MAX_WAITING" in raised.value.hint
    jobs.cancel(lab, first.id)
    jobs.submit(lab, JobKind.TRAIN, params)


def test_the_trainings_of_an_ablation_count(lab: Lab) -> None:
    shared = TrainParams(name="Net", dataset=stock_dataset(lab))
    params = AblationParams(name="Seeds", training=shared, recipes=(Recipe.CLEAN,), seeds=(0, 1, 2))
    with pytest.raises(TooMany):
        jobs.submit(limited(lab, max_waiting=3), JobKind.ABLATION, params)
    jobs.submit(limited(lab, max_waiting=4), JobKind.ABLATION, params)


def test_no_job_starts_on_a_full_disk(lab: Lab) -> None:
    params = TrainParams(name="Net", dataset=stock_dataset(lab))
    free = shutil.disk_usage(lab.settings.data_dir).free // 2**20
    with pytest.raises(Unavailable, match="nearly full") as raised:
        jobs.submit(limited(lab, min_free_mb=2 * free), JobKind.TRAIN, params)
    assert "LAB_MIN_FREE_MB" in raised.value.hint
    assert jobs.page(lab).total == 0
