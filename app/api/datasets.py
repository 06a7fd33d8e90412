"""Datasets: import one, look at those there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Form, Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field, TypeAdapter

from app.admission.routes import ByMethod
from app.api.exports import CSV, csv
from app.api.fields import ExactName, IdempotencyKey, strict_json
from app.api.jobs import accepted
from app.api.uploads import UploadForm, parameters, started, takes
from app.contracts.changes import Changes
from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams, Source
from app.contracts.views import DatasetView, JobView
from app.deps import IdPath, LabDep
from app.errors import InvalidInput
from app.services import datasets, exports, jobs

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=ByMethod)
_CHANGES: TypeAdapter[Changes] = TypeAdapter(Changes)


@takes(ImportParams)
class ImportForm(UploadForm):
    """An archive of class folders, or the name of a dataset that the lab fetches or draws."""

    file: UploadFile | None = Field(
        None, description="`.zip`, `.tar`, `.tar.gz` or `.tar.xz` with a folder for each class."
    )
    source: Source | None = Field(
        None, description="Instead of a file: `shapes`, `cifar10`, `cifar100` or `svhn`."
    )


@router.post("", status_code=202)
def add(
    lab: LabDep,
    response: Response,
    form: Annotated[ImportForm, Form()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Import a dataset; the archive's content is checked by the job that this starts."""
    if (form.file is None) == (form.source in (None, Source.ARCHIVE)):
        raise InvalidInput(
            "Send either an archive or the name of a source.",
            hint="`file` with an archive, or `source` with shapes, cifar10, cifar100 or svhn.",
            field="file",
        )
    if form.file is None:
        params = parameters(ImportParams, form)
        job = jobs.submit(lab, JobKind.IMPORT, params, idempotency_key=idempotency_key)
        return accepted(response, job)
    return started(
        lab, response, JobKind.IMPORT, form, form.file, idempotency_key, source=Source.ARCHIVE
    )


@router.get("")
def all_datasets(
    lab: LabDep,
    deleted: Annotated[bool, Query(description="Those in the bin instead.")] = False,
    name: ExactName = None,
) -> list[DatasetView]:
    """All datasets, newest first."""
    return datasets.all_datasets(lab, deleted=deleted, name=name)


@router.get("/{dataset_id}")
def one(lab: LabDep, dataset_id: IdPath) -> DatasetView:
    """One dataset and what its import found."""
    return datasets.get(lab, dataset_id)


@router.get("/{dataset_id}/manifest.csv", response_class=StreamingResponse, responses=CSV)
def manifest(lab: LabDep, dataset_id: IdPath) -> StreamingResponse:
    """Every image, one row each, in the dataset's own order: `part` (train, test), `number` within
    it, `label` with its name, and the `sha256` of its pixels as bytes of height, width and colour.
    """
    view, lines = exports.manifest_csv(lab, dataset_id)
    return csv(lines, exports.file_name(view.name, "dataset", view.id, "-manifest.csv"))


@router.patch("/{dataset_id}", dependencies=[Depends(strict_json(_CHANGES, tagged=False))])
def change(lab: LabDep, dataset_id: IdPath, changes: Annotated[Changes, Body()]) -> DatasetView:
    """Rename, note, tag or archive it; what is left out stays."""
    return datasets.change(lab, dataset_id, changes)


@router.delete("/{dataset_id}", status_code=204)
def delete(lab: LabDep, dataset_id: IdPath) -> None:
    """Move a dataset into the bin, where it stays for a week; 409 while a job needs it."""
    datasets.delete(lab, dataset_id)


@router.post("/{dataset_id}/restore")
def restore(lab: LabDep, dataset_id: IdPath) -> DatasetView:
    """Take a dataset out of the bin."""
    return datasets.restore(lab, dataset_id)
