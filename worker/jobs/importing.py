"""The import job: an archive, a torchvision dataset, or the drawn `shapes` becomes a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from app.contracts.events import LogLevel
from app.contracts.params import ImportParams, Source
from app.contracts.results import DatasetReport, ImportResult
from app.errors import JobError
from app.store import catalogue
from app.store.files import remove
from app.store.tables import DatasetRow
from worker.data import (
    Dataset,
    DatasetError,
    draw_shapes,
    import_archive,
    import_torchvision,
    load_dataset,
)
from worker.jobs.context import JobContext, Outcome
from worker.registry import id_within


def run(context: JobContext, params: ImportParams) -> Outcome:
    """Import a dataset. Raises JobError with what is wrong with the source."""
    dataset_id = id_within(context.claim.job_id, "dataset")
    folder = context.lab.files.dataset(dataset_id)
    # An attempt that was lost between the files and the row leaves a folder that no row names.
    remove(folder)
    try:
        report = _SOURCES.get(params.source, _download)(context, params, folder)
    except DatasetError as error:
        raise JobError(error.detail, hint=error.hint) from error
    row = DatasetRow(
        id=dataset_id,
        name=params.name,
        source=params.source,
        job_id=context.claim.job_id,
        created_at=time.time(),
        report=report.model_dump(mode="json"),
    )
    return Outcome(ImportResult(dataset=dataset_id, report=report), [row])


def _unpack(context: JobContext, params: ImportParams, folder: Path) -> DatasetReport:
    assert params.upload is not None
    archive = context.lab.files.upload(params.upload)
    upload = catalogue.upload(context.lab.database, params.upload)
    if upload is None or not archive.exists():
        raise JobError("The uploaded archive is gone.", hint="Upload it again.")
    found = import_archive(
        archive,
        folder,
        image_size=params.image_size,
        seed=params.seed,
        label=params.name,
        source=upload.filename,
        progress=_progress(context, "reading images"),
    )
    for remark in found.remarks:
        context.log(remark, LogLevel.WARNING if found.skipped else LogLevel.INFO)
    return _report(load_dataset(folder)).model_copy(
        update={
            "skipped": found.skipped,
            "skipped_examples": tuple(f"{f.name}: {f.reason}" for f in found.skipped_files),
            "notes": found.remarks,
        }
    )


def _draw(context: JobContext, params: ImportParams, folder: Path) -> DatasetReport:
    dataset = draw_shapes(
        folder,
        image_size=params.image_size,
        train_per_class=params.train_per_class,
        test_per_class=max(1, params.train_per_class // 5),
        seed=params.seed,
        progress=_progress(context, "drawing shapes"),
    )
    return _report(dataset)


def _download(context: JobContext, params: ImportParams, folder: Path) -> DatasetReport:
    progress = _progress(context, f"downloading {params.source}")
    return _report(import_torchvision(params.source, folder, progress=progress))


_SOURCES = {Source.ARCHIVE: _unpack, Source.SHAPES: _draw}


def _progress(context: JobContext, phase: str) -> Callable[[int, int], None]:
    return lambda done, total: context.progress(done, max(total, 1), phase)


def _report(dataset: Dataset) -> DatasetReport:
    return DatasetReport(
        classes=dataset.class_names,
        image_size=dataset.image_size,
        train_images=sum(dataset.info.train_counts),
        test_images=sum(dataset.info.test_counts),
        has_masks="train_masks" in dataset.arrays,
        checksum=dataset.checksum,
    )
