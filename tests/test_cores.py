"""How many cores a worker says it has, and counts on: counted once, by what it may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import JobError
from app.settings import Settings
from tests.jobs.teams import params_of
from worker import offer, room
from worker.jobs import together


@pytest.fixture
def eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores; its control groups, with no limit yet."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(room, "_CGROUPS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "300000 100000"}, 3),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, 8),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "50000"}, 4),
        ({"cpu.cfs_quota_us": "200000"}, 8),
        ({}, 8),
    ],
)
def test_control_groups_give_time_of_so_many(
    eight: Path, files: dict[str, str], cores: int
) -> None:
    """Of both versions, here of the group above all others."""
    for folder in (eight, eight / "cpu", eight / "cpu,cpuacct"):
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
    assert room.cores() == cores


def test_a_process_that_is_kept_to_some_cores_has_those(
    eight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    (eight / "cpu.max").write_text("300000 100000\n")
    assert room.cores() == 2


def test_what_a_worker_offers_is_what_its_trainings_count_on(
    eight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (eight, eight / "cpu", eight / "cpu,cpuacct"):
        folder.mkdir(exist_ok=True)
        (folder / "cpu.max").write_text("300000 100000\n")
    offer.facts.cache_clear()
    try:
        assert offer.facts().cores == 3
    finally:
        offer.facts.cache_clear()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    together.check_machine(Settings(), params_of(recipe="clean", processes=3, batch_size=12))
    with pytest.raises(JobError, match="4 processes need a core each, and this worker has 3"):
        together.check_machine(Settings(), params_of(recipe="clean", processes=4, batch_size=12))
