"""The import job: an archive, a torchvision dataset, or the drawn `shapes` becomes a dataset."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.contracts.params import ImportParams, Source
from app.contracts.results import DatasetReport, DatasetWarning, ImportResult
from app.errors import JobError
from app.store import catalogue
from app.store.files import remove
from app.store.tables import DatasetRow
from confinement import gaps
from worker import apart
from worker.data import (
    Dataset,
    DatasetError,
    Images,
    draw_shapes,
    import_torchvision,
    weaknesses,
)
from worker.data.store_format import partial_folder, remove_partial, take_over
from worker.jobs.context import JobContext, Outcome
from worker.jobs.reading_archive import DATASET, PARAMS
from worker.registry import id_within

_SECONDS, _SECONDS_A_MB = 900, 3
"""How long reading an archive may take, on the clock and on the processor."""


class _Found(NamedTuple):
    report: DatasetReport
    examples: tuple[str, ...] = ()


def run(context: JobContext, params: ImportParams) -> Outcome:
    """Import a dataset, or look at one. Raises JobError with what is wrong with the source."""
    job_id, fence = context.claim.job_id, context.claim.fence
    for earlier in range(fence):  # large, and of no use
        context.lab.files.drop(context.lab.files.dataset(id_within(job_id, earlier, "dataset")))
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


def _archive(context: JobContext, params: ImportParams, folder: Path) -> _Found:
    """Have another process read it, into a folder beside `folder`."""
    assert params.upload is not None
    archive = context.lab.files.here(context.lab.files.upload(params.upload))
    upload = catalogue.upload(context.lab.database, params.upload)
    if upload is None or not archive.exists():
        raise JobError("The uploaded archive is gone.", hint="Upload it again.")
    remove_partial(folder)
    partial = partial_folder(folder)
    try:
        (partial / PARAMS).write_text(params.model_dump_json(), encoding="utf-8")
        found = _read(context, archive, partial, upload.filename)
        if not params.preview:
            take_over(partial / DATASET, folder)
    finally:
        remove(partial)
    for note in (*gaps(), *found.report.notes):
        context.log(note)
    for left in found.report.left_out:
        context.log(f"Left out: {left.reason} ({left.count:,}).")
    return found


def _read(context: JobContext, archive: Path, target: Path, filename: str) -> _Found:
    """What the other process says. Raises DatasetError, OSError where the disk is full."""
    seconds = _SECONDS + _SECONDS_A_MB * archive.stat().st_size // 2**20
    try:
        reply = apart.run(
            "worker.jobs.reading_archive", archive, target, filename,
            context.lab.settings.max_dataset_mb, seconds,
            seconds=seconds, check=context.check, progress=_progress(context, "reading images"),
        )  # fmt: skip
        if "errno" in reply:
            raise OSError(int(reply["errno"]), os.strerror(int(reply["errno"])))
        if "detail" in reply:
            raise DatasetError(str(reply["detail"])[:1000], str(reply["hint"])[:500])
        return _Found(DatasetReport.model_validate(reply["report"]), tuple(reply["examples"]))
    except apart.TookTooLongError:
        raise DatasetError(
            f"Reading the archive took more than {seconds // 60} minutes.", "Import fewer images."
        ) from None
    except apart.BrokeDownError as error:
        raise DatasetError(
            f"The archive made its reader break down (exit code {error.code}).",
            "It is damaged, or memory ran out: upload it again, or import fewer images.",
        ) from None


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


_SOURCES = {Source.ARCHIVE: _archive, Source.SHAPES: _draw}


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
        warnings=tuple(
            DatasetWarning(kind=found.kind, text=found.text, count=found.count)
            for found in weaknesses(dataset.class_names, train, test, context.check)
        ),
        has_masks="train_masks" in dataset.arrays,
        checksum=dataset.checksum,
    )


def _images(dataset: Dataset, part: str) -> Images:
    labels = dataset.arrays[f"{part}_labels"]
    return Images(dataset.arrays[f"{part}_images"], np.arange(len(labels)), labels)
