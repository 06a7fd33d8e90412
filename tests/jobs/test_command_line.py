"""`python -m worker`: the same jobs with no broker, and without the packages of the service."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.contracts.results import AblationResult, EvaluationResult, Measure
from app.store import catalogue, job_queries
from tests.jobs.runs import open_lab
from tests.plugins.forked import python_m
from tests.plugins.images import MINI

_SERVICE = {"celery", "kombu", "redis", "fastapi", "uvicorn"}


class _Closed:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in _SERVICE:
            raise ImportError(f"{name} is not installed here")


def _without_the_service() -> None:
    assert not sys.modules.keys() & _SERVICE
    sys.meta_path.insert(0, _Closed)  # type: ignore[arg-type]


def _worker(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"LAB_DATA_DIR": str(folder)}
    return python_m("worker", *arguments, environment=environment, before=_without_the_service)


def _write(path: Path, **params: object) -> str:
    path.write_text(json.dumps(params))
    return str(path)


@pytest.mark.slow
@pytest.mark.trains
def test_import_train_and_evaluate(tmp_path: Path) -> None:
    data = tmp_path / "data"
    file = tmp_path / "params.json"
    done = _worker(data, "import", _write(file, name="Mini"), "--archive", str(MINI))
    assert done.returncode == 0, done.stderr
    database = open_lab(data).database
    (dataset,) = catalogue.datasets(database)

    params = {"name": "Model", "dataset": dataset.id, "architecture": "wrn-10-1", "epochs": 1}
    done = _worker(data, "train", _write(file, **params))
    assert done.returncode == 0, done.stderr
    assert "Epoch 1: validation clean" in done.stdout
    (model,), _ = catalogue.models(database)

    params = {"models": [model.id], "dataset": dataset.id, "images": 20, "step_counts": [1]}
    done = _worker(data, "evaluate", _write(file, **params))
    assert done.returncode == 0, done.stderr
    result = json.loads(Path(done.stdout.split("result: ")[1].strip()).read_text())
    assert result["models"][0]["clean"]["n"] == 20

    weights = str(open_lab(data).files.weights(model.id))
    params = {"name": "Copy", "dataset": dataset.id, "architecture": "wrn-10-1"}
    done = _worker(data, "import_model", _write(file, **params), "--weights", weights)
    assert done.returncode == 0, done.stderr
    assert [row.name for row in catalogue.models(database)[0]] == ["Copy", "Model"]
    assert {row.title for row in job_queries.page(database, offset=0, limit=9)[0]} == {
        "Import Mini", "Train Model on Mini", "Evaluate Model on Mini", "Import the model Copy",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.trains
def test_an_interrupted_training_says_how_to_go_on_and_does_not_repeat_itself(
    tmp_path: Path,
) -> None:
    data, file = tmp_path / "data", tmp_path / "params.json"
    assert _worker(data, "import", _write(file, name="Shapes", train_per_class=40)).returncode == 0
    (dataset,) = catalogue.datasets(open_lab(data).database)
    params = {"name": "Net", "dataset": dataset.id, "architecture": "wrn-10-1", "epochs": 10}
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "train", _write(file, batch_size=32, **params)],
        env={**os.environ, "LAB_DATA_DIR": str(data), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        assert training.stdout is not None
        job = training.stdout.readline().split()[1]
        assert any(re.match(r"epoch \d+ of 10: [1-9]", line) for line in training.stdout)
        training.send_signal(signal.SIGINT)
        _, said = training.communicate(timeout=60)
    assert training.returncode == 130
    assert said == f"Interrupted. Go on with: python -m worker resume {job}\n"
    done = _worker(data, "resume", job)
    assert done.returncode == 0, done.stderr
    assert "Going on after" in done.stdout
    assert "epoch 1 of 10: 0 of" not in done.stdout
    again = _worker(data, "resume", job)
    assert (again.returncode, "result: " in again.stdout) == (0, True)


def test_what_cannot_run_is_said_in_words(tmp_path: Path) -> None:
    done = _worker(tmp_path / "data", "train", _write(tmp_path / "p.json", name="x", epochs=0))
    assert done.returncode == 2
    assert "epochs" in done.stderr
    assert "Traceback" not in done.stderr
    done = _worker(tmp_path / "data", "train", str(tmp_path / "missing.json"))
    assert done.returncode == 2
    assert "missing.json" in done.stderr
    assert _worker(tmp_path / "data", "resume", "0" * 32).returncode == 2
    for text in ("{", "[]", "3"):
        (tmp_path / "p.json").write_text(text)
        done = _worker(tmp_path / "data", "evaluate", str(tmp_path / "p.json"))
        assert (done.returncode, "JSON" in done.stderr) == (2, True)


def test_every_parameter_that_is_wrong_is_named_and_no_library(tmp_path: Path) -> None:
    params = {"dataset": "0" * 32, "models": [], "attack": {"queries": 100}}
    done = _worker(tmp_path / "data", "evaluate", _write(tmp_path / "params.json", **params))
    assert done.returncode == 2
    assert "models: " in done.stderr
    assert "attack.queries: " in done.stderr
    assert "pydantic" not in done.stderr
    assert "[type=" not in done.stderr


def test_no_job_without_its_file(tmp_path: Path) -> None:
    params = {"name": "Net", "dataset": "0" * 32, "architecture": "wrn-10-1"}
    file = _write(tmp_path / "p.json", **params)
    done = _worker(tmp_path / "data", "import_model", file)
    assert (done.returncode, "--weights" in done.stderr) == (2, True)
    done = _worker(tmp_path / "data", "import_model", file, "--weights", str(tmp_path / "net.pt"))
    assert (done.returncode, "net.pt" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
    assert job_queries.page(open_lab(tmp_path / "data").database, offset=0, limit=9)[1] == 0


@pytest.mark.slow
@pytest.mark.trains
def test_an_ablation_is_run_to_its_table(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "params.json"
    assert _worker(data, "import", _write(file, name="Shapes", train_per_class=10)).returncode == 0
    lab = open_lab(data)
    (dataset,) = catalogue.datasets(lab.database)
    training = {"name": "x", "dataset": dataset.id, "architecture": "wrn-10-1", "epochs": 1}
    training |= {"batch_size": 32, "steps": 1}
    # Students of no teacher's family cannot be trained: that row fails, the others do not.
    params = {
        "name": "Nets",
        "training": training,
        "recipes": ["clean", "pgd_at"],
        "own": {"pgd_at": {"teacher": "0" * 32}},
        "seeds": [0, 1],
        "measure": {"images": 4, "steps": 1, "autoattack": False},
    }
    done = _worker(data, "ablation", _write(file, **params))
    assert done.returncode == 0, done.stderr
    result = AblationResult.model_validate_json(
        Path(done.stdout.split("result: ")[1].strip()).read_text()
    )
    clean, robust = result.table.rows
    for child, kept in zip(clean.children, clean.figures[Measure.CLEAN].values, strict=True):
        assert child.evaluation is not None
        text = lab.files.result(f"{child.evaluation}-1").read_bytes()
        (model,) = EvaluationResult.model_validate_json(text).models
        assert (model.model, model.clean) == (child.model, kept.accuracy)
        assert [row.alone for row in model.attacks[:3]] == [
            clean.figures[measure].values[child.seed].accuracy
            for measure in (Measure.PGD, Measure.FGSM, Measure.CW)
        ]
    assert [child.status for child in robust.children] == ["failed"] * 2
    assert all(child.failure for child in robust.children)
    job = done.stdout.split()[1]
    again = _worker(data, "resume", job)
    assert (again.returncode, "result: " in again.stdout) == (0, True)
