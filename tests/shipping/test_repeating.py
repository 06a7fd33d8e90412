"""The way to the models in the box, walked with real images at a tiny size."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    Attack,
    EvaluateParams,
    ExplainParams,
    ImportParams,
    Source,
    TrainParams,
)
from app.contracts.results import EvaluationResult, ExplainResult
from app.store import catalogue, job_queries
from app.store.shipped import listed, read_card, register
from app.store.tables import JobRow, ModelRow, UploadRow
from tests.jobs.runs import open_lab, run
from tests.plugins.forked import python_m
from tests.plugins.images import few
from worker.jobs.context import WorkerLab

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "models" / "jobs"
TINY = {"architecture": "wrn-10-1", "epochs": 1, "batch_size": 64, "steps": 1}
CHEAP = {"images": 10, "epsilons": [], "step_counts": [],
         "minimal_epsilon": False, "attention": False}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.trains]


def _write(path: Path, params: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(params))


def _shipping(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {"LAB_DATA_DIR": str(folder / "lab"), "LAB_SHIPPED_DIR": str(folder / "box")}
    return python_m("worker.shipping", *arguments, environment=places)


def _repeat(folder: Path) -> tuple[str, ...]:
    return ("repeat", str(folder / "few.zip"), "--jobs", str(folder / "jobs"))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images, a lab, and the box that came of it."""
    folder = tmp_path_factory.mktemp("repeated")
    few(folder / "few.zip")
    (folder / "box").mkdir()
    for slug in ("clean", "agkd-bml"):
        job = json.loads((JOBS / f"{slug}.json").read_text())
        _write(folder / "jobs" / f"{slug}.json", job | TINY)
    _write(folder / "jobs" / "import" / "images.json", {"name": "Mini"})
    _write(folder / "jobs" / "evaluate" / "test.json", CHEAP)
    done = _shipping(folder, *_repeat(folder), "--seconds", "600")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agkd-bml: " in done.stdout
    assert " s to measure an epoch; 1 of 1 epochs, " in done.stdout
    return folder


def test_models_are_trained_packed_and_measured(repeated: Path) -> None:
    box = {shipped.slug: shipped for shipped in listed(repeated / "box")}
    assert box.keys() == {"clean", "agkd-bml"}
    for shipped in box.values():
        card = read_card(shipped)
        assert card.origin == "shipped"
        assert card.dataset.name == "Mini"
        measured = {one.measure: one.accuracy.n for one in card.test}
        assert measured == {"clean": 10, "PGD-20": 10}
    teacher = read_card(box["agkd-bml"]).teacher
    assert teacher is not None
    assert teacher.id == box["clean"].id


def test_what_is_done_is_not_done_again(repeated: Path) -> None:
    lab = open_lab(repeated / "lab")
    before = [path.read_bytes() for path in sorted((repeated / "box").glob("*.*"))]
    count = job_queries.page(lab.database, offset=0, limit=1)[1]
    done = _shipping(repeated, *_repeat(repeated), "--seconds", "600")
    assert "Epochs as chosen before: {'clean': 1, 'agkd-bml': 1}." in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert job_queries.page(lab.database, offset=0, limit=1)[1] == count
    assert [path.read_bytes() for path in sorted((repeated / "box").glob("*.*"))] == before


def test_a_killed_training_goes_on(repeated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(repeated, folder)
    lab = open_lab(folder / "lab")
    killed = job_queries.page(lab.database, kinds=[JobKind.TRAIN], offset=0, limit=1)[0][0]
    with lab.database.writing() as session:
        session.execute(delete(ModelRow).where(ModelRow.job_id == killed.id))
        row = session.get_one(JobRow, killed.id)
        row.status, row.lease_until, row.result_file = JobStatus.RUNNING, time.time() + 2, None
    count = job_queries.page(lab.database, offset=0, limit=1)[1]
    done = _shipping(folder, *_repeat(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert job_queries.page(lab.database, offset=0, limit=1)[1] == count
    resumed = job_queries.get(lab.database, killed.id)
    assert resumed is not None
    assert (resumed.status, resumed.fence) == (JobStatus.SUCCEEDED, 2)


def test_what_is_not_done_in_time_has_its_checkpoint(repeated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(repeated, folder)
    (folder / "lab" / "epochs.json").write_text(json.dumps({"clean": 1000, "agkd-bml": 1}))
    done = _shipping(folder, *_repeat(folder), "--seconds", "20")
    assert done.returncode == 124, done.stdout + done.stderr
    assert done.stderr.endswith("The time is over; the same command goes on.\n")
    lab = open_lab(folder / "lab")
    left = job_queries.page(lab.database, kinds=[JobKind.TRAIN], offset=0, limit=1)[0][0]
    assert (left.status, left.params["epochs"]) == (JobStatus.QUEUED, 1000)
    assert (lab.files.checkpoints(left.id) / "1" / "last.pt").exists()


def test_what_cannot_be_done_is_said_in_words(repeated: Path) -> None:
    done = _shipping(repeated, "pack", "0" * 32, "clean")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"There is no model {'0' * 32}.\n"
    done = _shipping(repeated, "repeat", "nowhere.zip", "--jobs", str(repeated / "nowhere"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.fixture
def elsewhere(repeated: Path, tmp_path: Path) -> WorkerLab:
    """A lab that has the models, and none of the images they were trained on."""
    lab = open_lab(tmp_path / "elsewhere")
    register(lab.database, lab.files, repeated / "box")
    return lab


def test_a_lab_without_images_attacks_a_photograph(repeated: Path, elsewhere: WorkerLab) -> None:
    box = {shipped.slug: shipped.id for shipped in listed(repeated / "box")}
    upload = "c" * 32
    photograph = ROOT / "static" / "examples" / "cat.jpg"
    elsewhere.files.upload(upload).write_bytes(photograph.read_bytes())
    params = ExplainParams(
        upload=upload, models=(box["clean"], box["agkd-bml"]), label="cat",
        attack=Attack(steps=2),
    )  # fmt: skip
    row = run(elsewhere, JobKind.EXPLAIN, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    result = ExplainResult.model_validate_json(elsewhere.files.result(row.result_name).read_bytes())
    assert result.classes[3] == "cat"
    assert sum(result.clean[1].probabilities) == pytest.approx(1, abs=1e-3)


def test_images_of_the_same_classes_measure_and_train(repeated: Path, elsewhere: WorkerLab) -> None:
    box = {shipped.slug: shipped.id for shipped in listed(repeated / "box")}
    upload = "a" * 32
    elsewhere.files.upload(upload).write_bytes((repeated / "few.zip").read_bytes())
    row = UploadRow(id=upload, filename="few.zip", sha256="", size_bytes=0, created_at=0.0)
    catalogue.add_upload(elsewhere.database, row)
    imported = run(
        elsewhere, JobKind.IMPORT, ImportParams(name="Anew", source=Source.ARCHIVE, upload=upload)
    )
    assert imported.status == JobStatus.SUCCEEDED, imported.failure
    dataset = catalogue.datasets(elsewhere.database)[0].id
    # Attention is measured where a model is right: among a hundred images, so is a guess.
    evaluate = EvaluateParams(
        models=tuple(box.values()), dataset=dataset, images=100, epsilons=(), step_counts=(),
        minimal_epsilon=False, attack=Attack(steps=2),
    )  # fmt: skip
    row = run(elsewhere, JobKind.EVALUATE, evaluate)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    result = EvaluationResult.model_validate_json(
        elsewhere.files.result(row.result_name).read_bytes()
    )
    student = next(one for one in result.models if one.model == box["agkd-bml"])
    assert student.attention is not None
    assert student.attention.reference.id == box["clean"]
    train = TrainParams(
        **TINY, name="Own", dataset=dataset, recipe="agkd_bml", teacher=box["clean"]
    )
    row = run(elsewhere, JobKind.TRAIN, train)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    own = catalogue.models(elsewhere.database)[0][0]
    assert own.card["teacher"]["id"] == box["clean"]
