"""The whole way through the Python client and the command line: from an archive to a re-run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.client import Job, Lab
from app.contracts.events import Event, MetricsEvent, ProgressEvent, StateEvent
from app.contracts.export import Export
from app.contracts.results import Comparison, EvaluationResult, ModelFigures
from tests.e2e.lab_client import LabClient
from tests.plugins.lab_process import PATIENCE_S, ROOT

Shell = Callable[..., str]
DATASET, TEACHER, STUDENT = "Client: mini", "Client: teacher", "Client: student"
TINY = ("--architecture", "wrn-10-1", "--epochs", "1", "--set", "batch_size=64")
IMAGES = 24


@pytest.fixture(scope="module")
def lab(api: LabClient) -> Iterator[Lab]:
    with Lab(api.process.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def shell(api: LabClient, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a command that has to work; returns what it printed. Files land in one folder."""
    folder = tmp_path_factory.mktemp("client")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "app.client", *arguments],
            cwd=folder,
            env=os.environ | {"LAB_URL": api.process.url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def models(lab: Lab, shell: Shell, archive: Path) -> tuple[str, str]:
    """A teacher and a student, trained by the command line; their ids."""
    assert "300 training and 100 test images" in shell("import", archive, "--name", DATASET)
    shell("train", TEACHER, "--dataset", DATASET, *TINY)
    shell("train", STUDENT, "--dataset", DATASET, "--teacher", TEACHER, "--set", "steps=1", *TINY)
    return lab.model(TEACHER).id, lab.model(STUDENT).id


@pytest.fixture(scope="module")
def evaluation(lab: Lab, models: tuple[str, str]) -> Job[EvaluationResult]:
    return lab.evaluate(
        [TEACHER, STUDENT], dataset=DATASET, images=IMAGES, attack={"steps": 3},
        epsilon="8/255", further=["apgd_ce", "square", "transfer"], sources=[TEACHER],
        queries=10, epsilons=["0/255", "4/255", "8/255"], step_counts=[1, 3], batch_size=12,
    )  # fmt: skip


@pytest.fixture(scope="module")
def watched(evaluation: Job[EvaluationResult]) -> list[Event]:
    return list(evaluation.watch())


@pytest.fixture(scope="module")
def result(evaluation: Job[EvaluationResult], watched: list[Event]) -> EvaluationResult:
    return evaluation.result()


def test_an_import_is_looked_at_first(lab: Lab, shell: Shell, archive: Path) -> None:
    before = lab.datasets()
    looked = lab.import_dataset(archive, name="Looked at", image_size=64, preview=True).wait()
    report = looked.result().report
    assert looked.result().dataset is None
    assert (report.train_images, report.test_images, report.image_size) == (300, 100, 64)
    assert report.classes[:2] == ("airplane", "automobile")
    assert len(looked.result().examples) == 10
    said = shell("import", archive, "--name", "Looked at", "--preview")
    assert "300 training and 100 test images" in said
    assert lab.datasets() == before


def test_a_student_knows_its_teacher(lab: Lab, models: tuple[str, str]) -> None:
    teacher, student = (lab.model(model) for model in models)
    assert student.card.teacher is not None
    assert student.card.teacher.sha256 == teacher.sha256


def test_a_running_evaluation_tells_its_estimate(
    watched: list[Event], models: tuple[str, str]
) -> None:
    estimates = [e for e in watched if isinstance(e, MetricsEvent) and e.series == "estimate"]
    steps = [estimate.step for estimate in estimates]
    assert steps == sorted(steps), "after every attack of the first batch, and after each batch"
    assert set(steps) == {12, 24}
    for model in models:
        values = estimates[-1].values
        assert values[f"{model}:low"] <= values[f"{model}:robust"] <= values[f"{model}:high"]
    assert any(isinstance(event, ProgressEvent) for event in watched)
    assert isinstance(watched[-1], StateEvent)


def test_the_result_has_a_verdict_and_agrees_with_the_last_estimate(
    watched: list[Event], result: EvaluationResult
) -> None:
    last = [e for e in watched if isinstance(e, MetricsEvent) and e.series == "estimate"][-1]
    assert [model.name for model in result.models] == [TEACHER, STUDENT]
    for model in result.models:
        assert model.robust is not None
        assert model.robust.n == IMAGES
        assert model.robust.value == pytest.approx(last.values[f"{model.model}:robust"])
        assert model.verdict is not None
        assert len(model.verdict.checks) > 10


def test_every_export_tells_the_same(
    lab: Lab, shell: Shell, evaluation: Job[EvaluationResult], result: EvaluationResult,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in ("all.json", "figures.csv", "report.html"):
        file = tmp_path / name
        assert shell("fetch", evaluation.id[:12], "-o", file).strip() == str(file)
        assert file.stat().st_size > 1000
    exported = Export.model_validate_json((tmp_path / "all.json").read_text())
    assert exported.result == result
    with (tmp_path / "figures.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for model in result.models:
        assert model.robust is not None
        (robust,) = (
            row for row in rows
            if row["model"] == model.model and row["quantity"] == "accuracy_robust"
        )  # fmt: skip
        assert float(robust["value"]) == model.robust.value
    assert TEACHER in (tmp_path / "report.html").read_text()
    images = evaluation.export(tmp_path / "images.csv", images=True)
    with images.open(newline="") as stream:
        standing = [row for row in csv.DictReader(stream) if row["broken_by"] == "-1"]
    assert len(standing) == sum(m.robust.correct for m in result.models if m.robust is not None)


def _timeless(models: tuple[ModelFigures, ...]) -> list[ModelFigures]:
    """Without how long each attack took, the one thing that differs from run to run."""
    return [
        model.model_copy(
            update={"attacks": tuple(a.model_copy(update={"seconds": 0.0}) for a in model.attacks)}
        )
        for model in models
    ]


def test_a_re_run_gives_the_same_figures_and_compares_as_equal(
    lab: Lab, shell: Shell, evaluation: Job[EvaluationResult], result: EvaluationResult,
    tmp_path: Path,
) -> None:  # fmt: skip
    export = evaluation.export(tmp_path / "evaluation.json")
    again = EvaluationResult.model_validate_json(shell("rerun", export, "--json"))
    assert again.params == result.params
    assert again.image_numbers == result.image_numbers
    assert _timeless(again.models) == _timeless(result.models)
    newest = lab.jobs(kind="evaluate", limit=1)[0]
    assert newest.id != evaluation.id
    told = Comparison.model_validate_json(shell("compare", evaluation.id, newest.id, "--json"))
    assert told == lab.compare(evaluation, newest)
    assert told.images == IMAGES
    same = [t for t in told.tests if told.compared[t.first].model == told.compared[t.second].model]
    assert len(same) == 4  # two models, clean and robust
    assert all(test.only_first == test.only_second == 0 for test in same)


def test_a_table_for_people_and_json_for_programs_tell_the_same(
    shell: Shell, evaluation: Job[EvaluationResult], result: EvaluationResult
) -> None:
    assert EvaluationResult.model_validate_json(shell("fetch", evaluation.id, "--json")) == result
    table = shell("fetch", evaluation.id)
    for model in result.models:
        assert model.robust is not None
        assert f"{100 * model.robust.value:.1f} %" in table
    listed = json.loads(shell("jobs", "--kind", "evaluate", "--json"))
    assert evaluation.id in {job["id"] for job in listed}
