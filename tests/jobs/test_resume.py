"""Trainings whose workers are killed end as if nothing had happened: to the last bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.contracts.jobs import MAX_ATTEMPTS, JobKind, JobStatus
from app.contracts.params import ImportParams, TrainParams
from app.contracts.results import TrainResult
from app.store import catalogue
from tests.jobs.runs import open_lab, run
from tests.plugins.forked import python_m
from worker.jobs.context import WorkerLab

_ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS = 2, 24  # 90 training images, 8 a step
_SMALL = {"architecture": "wrn-10-1", "epochs": EPOCHS, "batch_size": 8, "steps": 1}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> WorkerLab:
    opened = open_lab(tmp_path_factory.mktemp("lab"))
    run(opened, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=10))
    return opened


def _settings(lab: WorkerLab, **changes: Any) -> dict[str, Any]:
    dataset = catalogue.datasets(lab.database)[0].id
    return {"name": "Model", "dataset": dataset, **_SMALL, **changes}


@pytest.fixture(scope="module")
def student(lab: WorkerLab) -> dict[str, Any]:
    """Everything that a training may change as it goes, at once."""
    teacher = TrainParams.model_validate(_settings(lab, name="Teacher", epochs=1))
    job = run(lab, JobKind.TRAIN, teacher)
    result = TrainResult.model_validate_json(lab.files.result(job.result_name).read_bytes())
    return _settings(
        lab, recipe="agkd_bml", teacher=result.model, ema_decay=0.9, schedule="one_cycle", seed=1,
        awp_gamma=0.01, awp_warmup=1,
    )  # fmt: skip


def _live(lab: WorkerLab, trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    folder = lab.settings.data_dir
    (folder / "plan.json").write_text(json.dumps(trainings))
    files = [str(folder), str(folder / "plan.json"), str(folder / "report.json")]
    done = python_m("tests.jobs.mortal", *files, environment={}, timeout_s=1800)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads((folder / "report.json").read_text())
    return found


def _as_if_nothing_had_happened(whole: dict[str, Any], killed: dict[str, Any]) -> None:
    assert killed["status"] == JobStatus.SUCCEEDED, killed
    assert list(whole["losses"]) == list(killed["losses"]), "every step, in order"
    for step, (loss,) in whole["losses"].items():
        assert set(killed["losses"][step]) == {loss}, f"step {step}"
    for what in ("best", "last", "epochs"):
        assert killed[what] == whole[what], what
    assert not killed["checkpoints"]


@pytest.mark.slow
@pytest.mark.trains
def test_killed_at_twenty_random_steps(lab: WorkerLab, student: dict[str, Any]) -> None:
    """In three trainings, each more often than a job may lose its worker without going on."""
    steps = random.Random(3).sample(range(1, STEPS + 1), 20)
    deaths = [sorted(steps[first::3]) for first in range(3)]
    plan = [{"params": student, "deaths": [{"step": s} for s in each]} for each in deaths]
    whole, *killed = _live(lab, [{"params": student, "deaths": []}, *plan])
    assert len(whole["losses"]) == STEPS
    assert len({loss for (loss,) in whole["losses"].values()}) == STEPS, "no two losses are alike"
    assert whole["best"] != whole["last"], "both models are put to the test"
    for training, each in zip(killed, deaths, strict=True):
        assert training["died"] == len(each) > MAX_ATTEMPTS
        _as_if_nothing_had_happened(whole, training)
        repeated = sum(len(seen) - 1 for seen in training["losses"].values())
        assert repeated < sum(each), "checkpoints fall inside the run"


@pytest.mark.slow
def test_killed_while_a_file_is_written(lab: WorkerLab, student: dict[str, Any]) -> None:
    """A checkpoint, or the models at the end."""
    plan = [{"params": student, "deaths": [{"sync": sync}]} for sync in (1, 2, 3)]
    whole, *killed = _live(lab, [{"params": student, "deaths": []}, *plan])
    for training in killed:
        assert (training["died"], training["torn"]) == (1, 1)
        _as_if_nothing_had_happened(whole, training)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_clean_model(lab: WorkerLab, precision: str) -> None:
    params = _settings(lab, precision=precision, schedule="multistep", milestones=[1])
    plans: list[list[dict[str, int]]] = [[], [{"step": 5}, {"sync": 2}, {"step": 20}]]
    whole, killed = _live(lab, [{"params": params, "deaths": deaths} for deaths in plans])
    assert killed["died"] == 3
    _as_if_nothing_had_happened(whole, killed)


@pytest.mark.slow
def test_resumed_from_the_command_line(lab: WorkerLab, tmp_path: Path) -> None:
    """Where no service runs that would take the job back from the lost worker."""
    (tmp_path / "params.json").write_text(json.dumps(_settings(lab, epochs=12)))
    environment = {
        "LAB_DATA_DIR": str(lab.settings.data_dir),
        "LAB_LEASE_S": "1",
        "LAB_CHECKPOINT_S": "0.001",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "train", str(tmp_path / "params.json")],
        cwd=_ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
    ) as killed:  # fmt: skip
        assert killed.stdout is not None
        job = killed.stdout.readline().split()[1]
        assert any(line.startswith("Epoch 1:") for line in killed.stdout)
        killed.kill()
    time.sleep(1)  # until the lease is over
    done = python_m("worker", "resume", job, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "Going on after" in done.stdout
    assert "Epoch 12:" in done.stdout
