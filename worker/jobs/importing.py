"""The import job: an archive, a torchvision dataset, or the drawn `shapes` becomes a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.contracts.params import ImportParams, Source
from app.contracts.results import DatasetReport, DatasetWarning, ImportResult, LeftOut
from app.errors import JobError
from app.store import catalogue
from app.store.files import remove
from app.store.tables import DatasetRow
from worker.data import (
    Dataset,
    DatasetError,
    Images,
    ImportReport,
    Weakness,
    Wishes,
    draw_shapes,
    import_archive,
    import_torchvision,
    load_dataset,
    weaknesses,
)
from worker.jobs.context import JobContext, Outcome
from worker.jobs.unpacked import unpack
from worker.pictures import png
from worker.registry import id_within


class _Found(NamedTuple):
    report: DatasetReport
    examples: tuple[str, ...] = ()


def run(context: JobContext, params: ImportParams) -> Outcome:
    """Import a dataset, or look at one. Raises JobError with what is wrong with the source."""
    job_id, fence = context.claim.job_id, context.claim.fence
    for earlier in range(fence):  # large, and of no use
        remove(context.lab.files.dataset(id_within(job_id, earlier, "dataset")))
    dataset_id = id_within(job_id, fence, "dataset")
    folder = context.lab.files.dataset(dataset_id)
    try:
        found = _SOURCES.get(params.source, _download)(context, params, folder)
    except DatasetError as error:
        raise JobError(error.detail, hint=error.hint) from error
    except BaseException:
        remove(folder)
        raise
    for warning in found.report.warnings:
        context.warn(warning.text)
    if params.preview:
        return Outcome(ImportResult(dataset=None, report=found.report, examples=found.examples))
    row = DatasetRow(
        id=dataset_id,
        name=params.name,
        source=params.source,
        job_id=job_id,
        created_at=time.time(),
        report=found.report.model_dump(mode="json"),
    )
    return Outcome(ImportResult(dataset=dataset_id, report=found.report), [row], files=[folder])


def _unpack(context: JobContext, params: ImportParams, folder: Path) -> _Found:
    assert params.upload is not None
    archive = context.lab.files.upload(params.upload)
    upload = catalogue.upload(context.lab.database, params.upload)
    if upload is None or not archive.exists():
        raise JobError("The uploaded archive is gone.", hint="Upload it again.")
    found = import_archive(
        archive,
        folder,
        wishes=Wishes(
            image_size=params.image_size,
            seed=params.seed,
            order=params.order.value,
            classes=params.classes,
            encoding=params.encoding.value,
        ),
        label=params.name,
        source=upload.filename,
        progress=_progress(context, "reading images"),
        check=context.check,
        unpack=partial(unpack, check=context.check),
        keep=not params.preview,
    )
    for note in found.notes:
        context.log(note)
    for reason, count in found.left_out.items():
        context.log(f"Left out: {reason} ({count:,}).")
    checksum = "" if params.preview else load_dataset(folder).checksum
    report = _of_archive(found, params.image_size, checksum)
    return _Found(report, tuple(map(png, found.examples)) if params.preview else ())


def _of_archive(found: ImportReport, image_size: int, checksum: str) -> DatasetReport:
    return DatasetReport(
        classes=found.class_names,
        image_size=image_size,
        train_images=sum(found.train_counts),
        test_images=sum(found.test_counts),
        layout=found.layout,
        train_counts=found.train_counts,
        validation_counts=found.held_counts,
        test_counts=found.test_counts,
        skipped=found.skipped,
        skipped_examples=tuple(f"{f.name}: {f.reason}" for f in found.skipped_files),
        left_out=tuple(LeftOut(reason=r, count=n) for r, n in found.left_out.items()),
        notes=found.notes,
        warnings=tuple(map(_warning, found.warnings)),
        checksum=checksum,
    )


def _warning(found: Weakness) -> DatasetWarning:
    return DatasetWarning(kind=found.kind, text=found.text, count=found.count)


def _draw(context: JobContext, params: ImportParams, folder: Path) -> _Found:
    dataset = draw_shapes(
        folder,
        image_size=params.image_size,
        train_per_class=params.train_per_class,
        test_per_class=max(1, params.train_per_class // 5),
        seed=params.seed,
        progress=_progress(context, "drawing shapes"),
    )
    return _Found(_report(context, dataset))


def _download(context: JobContext, params: ImportParams, folder: Path) -> _Found:
    progress = _progress(context, f"downloading {params.source}")
    return _Found(_report(context, import_torchvision(params.source, folder, progress=progress)))


_SOURCES = {Source.ARCHIVE: _unpack, Source.SHAPES: _draw}


def _progress(context: JobContext, phase: str) -> Callable[[int, int], None]:
    return lambda done, total: context.progress(done, max(total, 1), phase)


def _report(context: JobContext, dataset: Dataset) -> DatasetReport:
    train, test = (_images(dataset, part) for part in ("train", "test"))
    return DatasetReport(
        classes=dataset.class_names,
        image_size=dataset.image_size,
        train_images=sum(dataset.info.train_counts),
        test_images=sum(dataset.info.test_counts),
        train_counts=dataset.info.train_counts,
        test_counts=dataset.info.test_counts,
        warnings=tuple(map(_warning, weaknesses(dataset.class_names, train, test, context.check))),
        has_masks="train_masks" in dataset.arrays,
        checksum=dataset.checksum,
    )


def _images(dataset: Dataset, part: str) -> Images:
    labels = dataset.arrays[f"{part}_labels"]
    return Images(dataset.arrays[f"{part}_images"], np.arange(len(labels)), labels)
