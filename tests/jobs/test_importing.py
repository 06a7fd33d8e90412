"""The import job: what becomes of an uploaded archive, and of the drawn shapes."""

from __future__ import annotations

import hashlib
import time
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, Source
from app.contracts.results import ImportResult
from app.store import catalogue
from app.store.tables import DatasetRow, JobRow, UploadRow
from tests.jobs.runs import open_lab, run
from tests.plugins.images import MINI
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
    return ImportResult.model_validate_json(lab.files.result(job.id).read_bytes())


def test_an_archive_becomes_a_dataset(lab: WorkerLab) -> None:
    result = _result(lab, run(lab, JobKind.IMPORT, _upload(lab, MINI)))
    row = catalogue.dataset(lab.database, result.dataset)
    assert row is not None
    assert (row.name, row.source) == ("Mini", "archive")
    assert (result.report.train_images, result.report.test_images) == (1000, 500)
    images = np.load(lab.files.dataset(result.dataset) / "train_images.npy")
    assert images.shape == (1000, 32, 32, 3)


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


def test_a_file_that_is_no_archive_fails_with_advice(lab: WorkerLab, tmp_path: Path) -> None:
    text = tmp_path / "notes.zip"
    text.write_text("not an archive")
    job = run(lab, JobKind.IMPORT, _upload(lab, text))
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert job.failure["hint"]
    assert list((lab.settings.data_dir / "datasets").iterdir()) == []
