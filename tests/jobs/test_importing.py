"""The import job: what becomes of an uploaded archive, and of the drawn shapes."""

from __future__ import annotations

import base64
import hashlib
import io
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contracts.events import LogEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, Source
from app.contracts.results import ImportResult
from app.store import catalogue
from app.store.tables import DatasetRow, JobRow, UploadRow
from tests.data.packing import pack, png, train_and_test
from tests.jobs.runs import add_job, events_of, open_lab, row_of, run
from tests.plugins.images import MINI
from worker.job_run import run_job
from worker.jobs.context import WorkerLab


@pytest.fixture
def lab(tmp_path: Path) -> WorkerLab:
    return open_lab(tmp_path / "data")


def _upload(lab: WorkerLab, archive: Path) -> ImportParams:
    upload_id = uuid.uuid4().hex
    data = archive.read_bytes()
    lab.files.upload(upload_id).write_bytes(data)
    row = UploadRow(
        id=upload_id,
        filename=archive.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        created_at=time.time(),
    )
    catalogue.add_upload(lab.database, row)
    return ImportParams(name="Mini", source=Source.ARCHIVE, upload=upload_id)


def _result(lab: WorkerLab, job: JobRow) -> ImportResult:
    assert job.status == JobStatus.SUCCEEDED, job.failure
    return ImportResult.model_validate_json(lab.files.result(job.result_name).read_bytes())


def test_an_archive_becomes_a_dataset(lab: WorkerLab) -> None:
    result = _result(lab, run(lab, JobKind.IMPORT, _upload(lab, MINI)))
    row = catalogue.dataset(lab.database, result.dataset)
    assert row is not None
    assert (row.name, row.source) == ("Mini", "archive")
    assert (result.report.train_images, result.report.test_images) == (1000, 500)
    images = np.load(lab.files.dataset(result.dataset) / "train_images.npy")
    assert images.shape == (1000, 32, 32, 3)


def test_the_most_that_an_archive_unpacks_to_is_a_setting(tmp_path: Path) -> None:
    files = train_and_test(cat=3, dog=3) | {"train/cat/notes.txt": bytes(3 * 2**20)}
    archive = pack(tmp_path / "large.zip", files)
    small = open_lab(tmp_path / "small", max_upload_mb=1, max_dataset_mb=2)
    failed = run(small, JobKind.IMPORT, _upload(small, archive))
    assert failed.failure is not None
    assert failed.failure["detail"] == "The archive unpacks to more than 2 MB."
    assert "raise LAB_MAX_DATASET_MB" in failed.failure["hint"]
    large = open_lab(tmp_path / "large", max_upload_mb=1, max_dataset_mb=4)
    assert _result(large, run(large, JobKind.IMPORT, _upload(large, archive))).report.train_images


def test_damaged_images_are_counted_in_the_report(lab: WorkerLab, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled.zip"
    with zipfile.ZipFile(MINI) as source, zipfile.ZipFile(spoiled, "w") as target:
        for number, name in enumerate(n for n in source.namelist() if n.endswith(".jpg")):
            data = source.read(name)
            target.writestr(name, data[:100] if number % 500 == 0 else data)
    report = _result(lab, run(lab, JobKind.IMPORT, _upload(lab, spoiled))).report
    assert report.skipped == 3
    assert len(report.skipped_examples) == 3
    assert report.train_images + report.test_images == 1497


def test_shapes_come_with_masks(lab: WorkerLab) -> None:
    params = ImportParams(name="Shapes", train_per_class=10)
    report = _result(lab, run(lab, JobKind.IMPORT, params)).report
    assert report.has_masks
    assert (report.train_images, report.test_images) == (100, 20)


def test_a_name_taken_in_the_meantime_fails_and_keeps_the_first(lab: WorkerLab) -> None:
    params = ImportParams(name="Shapes", train_per_class=10)
    first = _result(lab, run(lab, JobKind.IMPORT, params))
    again = run(lab, JobKind.IMPORT, params)
    assert again.status == JobStatus.FAILED
    assert again.failure is not None
    assert "name was taken" in again.failure["detail"]
    with lab.database.reading() as session:
        assert [row.id for row in session.query(DatasetRow)] == [first.dataset]


def test_of_three_imports_of_one_name_at_once_one_wins_and_the_others_leave_nothing(
    lab: WorkerLab,
) -> None:
    params = ImportParams(name="Shapes", train_per_class=10)
    ids = [add_job(lab, JobKind.IMPORT, params) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda job_id: run_job(lab, job_id, stopping=lambda: False), ids))
    rows = [row_of(lab, job_id) for job_id in ids]
    assert sorted(row.status for row in rows) == ["failed", "failed", "succeeded"]
    (winner,) = [row for row in rows if row.status == JobStatus.SUCCEEDED]
    kept = [path.name for path in (lab.settings.data_dir / "datasets").iterdir()]
    assert kept == [_result(lab, winner).dataset]
    results = [path.name for path in (lab.settings.data_dir / "results").iterdir()]
    assert results == [winner.result_file]


def test_a_preview_says_what_an_import_would_do_and_keeps_nothing(lab: WorkerLab) -> None:
    params = _upload(lab, MINI)
    looked = _result(lab, run(lab, JobKind.IMPORT, params.model_copy(update={"preview": True})))
    assert looked.dataset is None
    assert list((lab.settings.data_dir / "datasets").iterdir()) == []
    assert len(looked.examples) == 10
    picture = Image.open(io.BytesIO(base64.b64decode(looked.examples[0])))
    assert picture.size == (6 * 32, 32)
    imported = _result(lab, run(lab, JobKind.IMPORT, params))
    assert imported.report == looked.report.model_copy(
        update={"checksum": imported.report.checksum}
    )
    assert imported.examples == ()


def test_what_weakens_a_dataset_is_in_its_report_and_in_the_log(
    lab: WorkerLab, tmp_path: Path
) -> None:
    files = train_and_test(cat=4, dog=4) | {"test/cat/again.png": png(0), "notes.txt": b"x"}
    job = run(lab, JobKind.IMPORT, _upload(lab, pack(tmp_path / "a.zip", files)))
    report = _result(lab, job).report
    assert "test_in_train" in {warning.kind for warning in report.warnings}
    assert [(one.reason, one.count) for one in report.left_out] == [
        ("files that are no pictures", 1)
    ]
    assert (report.train_counts, report.test_counts) == ((4, 4), (3, 2))
    logged = [event.text for event in events_of(lab, job.id) if isinstance(event, LogEvent)]
    assert {warning.text for warning in report.warnings} <= set(logged)


def test_a_file_that_is_no_archive_fails_with_advice(lab: WorkerLab, tmp_path: Path) -> None:
    text = tmp_path / "notes.zip"
    text.write_text("not an archive")
    job = run(lab, JobKind.IMPORT, _upload(lab, text))
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert job.failure["hint"]
    assert list((lab.settings.data_dir / "datasets").iterdir()) == []
