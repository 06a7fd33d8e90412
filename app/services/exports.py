"""Finished evaluations as files: to be judged elsewhere, opened as tables, and run again.

Also what every file that leaves the lab is called, and how archives leave it.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator

from app.contracts.export import Export, ExportedDataset, ExportedJob, ExportedModel
from app.contracts.results import EvaluationResult, Lineage
from app.contracts.views import DatasetView, JobView
from app.errors import Conflict
from app.services import datasets, jobs, models, spreadsheets
from app.services.evaluations import Finished, finished, of_lab_01
from app.services.lab import Lab
from app.settings import code_version
from app.store import catalogue

_CHUNK = 2**20


def export(lab: Lab, job_id: str) -> Export:
    """The evaluation with its origins. Raises NotFound, InvalidInput, Conflict."""
    return of_finished(lab, finished(lab, job_id))


def of_finished(lab: Lab, done: Finished) -> Export:
    """The same of an evaluation at hand."""
    job, result = done
    lineages = _origins(lab, result)
    cards = {model: view.card for model, view in models.by_id(lab, list(lineages)).items()}
    dataset = catalogue.dataset(lab.database, result.dataset.id)
    return Export(
        exported_by=code_version(),
        params=result.params,
        job=ExportedJob(
            id=job.id,
            title=job.title,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        ),
        dataset=ExportedDataset(
            lineage=result.dataset, report=dataset.report if dataset is not None else None
        ),
        models=tuple(
            ExportedModel(lineage=lineage, card=cards.get(model))
            for model, lineage in lineages.items()
        ),
        result=result,
    )


def _origins(lab: Lab, result: EvaluationResult) -> dict[str, Lineage]:
    """Every model that the figures depend on, by id, as it was when they were measured."""
    found = {m.model: Lineage(id=m.model, name=m.name, sha256=m.sha256) for m in result.models}
    for figures in result.models:
        sources = [row.source for row in figures.attacks]
        reference = None if figures.attention is None else figures.attention.reference
        for lineage in (*sources, reference):
            if lineage is not None:
                found.setdefault(lineage.id, lineage)
    # A source that attacked nothing, because no image stood, appears in no row.
    unused = [model for model in result.params.sources if model not in found]
    for model, view in models.by_id(lab, unused).items():
        found[model] = Lineage(id=model, name=view.name, sha256=view.sha256)
    return found


def figures_csv(lab: Lab, job_id: str) -> tuple[JobView, Iterator[str]]:
    """One row a figure (`spreadsheets`). Raises NotFound, InvalidInput, Conflict."""
    job, result = finished(lab, job_id)
    return job, spreadsheets.figures(job.id, result)


def images_csv(lab: Lab, job_id: str) -> tuple[JobView, Iterator[str]]:
    """One row an image and model. Raises NotFound, InvalidInput, Conflict."""
    job, result = finished(lab, job_id)
    if of_lab_01(result):
        raise Conflict(
            f"“{job.title}” was measured by lab 0.1, which kept no outcome of each image.",
            hint="Run it again with the same parameters.",
        )
    return job, spreadsheets.images(job.id, result)


def manifest_csv(lab: Lab, dataset_id: str) -> tuple[DatasetView, Iterator[str]]:
    """One row an image, in the dataset's own order, with the SHA-256 of its pixels: bytes of
    (H, W, 3), without any file's format. Raises NotFound.
    """
    view = datasets.get(lab, dataset_id)
    parts = [(part, datasets.arrays(lab, dataset_id, part)) for part in ("train", "test")]

    def images() -> Iterator[tuple[str, int, int, str]]:
        for part, (pixels, labels) in parts:
            for number, (one, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
                yield part, number, label, hashlib.sha256(one.tobytes()).hexdigest()

    return view, spreadsheets.manifest(view.report.classes, images())


def rerun(lab: Lab, exported: Export, *, idempotency_key: str | None = None) -> JobView:
    """The same job once more. On the same kind of machine it gives the same figures.

    The lab may be another one: checksums say which of its datasets and models are meant. Raises
    Conflict where it has not the same data or weights; InvalidInput.
    """
    try:
        params = exported.placed(catalogue.checksums(lab.database, exported.lineages))
    except ValueError as difference:
        raise Conflict(
            str(difference),
            hint="The figures would be others. To measure what this lab has, submit `kind` and "
            "`params` of the export as a new job.",
        ) from None
    return jobs.submit(lab, exported.kind, params, idempotency_key=idempotency_key)


def file_name(text: str, noun: str, id: str, ending: str) -> str:
    """A name that every file system takes, made from what a person called the thing and its id.

    Where nothing of `text` is left it begins with `noun`.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9-]+", "-", ascii_text).strip("-")[:60].strip("-")
    return f"{safe or noun}-{id[:8]}{ending}"


def streamed_zip(fill: Callable[[zipfile.ZipFile], None]) -> Iterator[bytes]:
    """An archive, piece by piece, that `fill` writes when the first piece is asked for."""
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            fill(archive)
        packed.seek(0)
        while data := packed.read(_CHUNK):
            yield data


def attachment(name: str) -> dict[str, str]:
    """The header that makes a browser save an answer under a name of `file_name`."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
