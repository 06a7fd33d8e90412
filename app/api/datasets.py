"""Datasets: import one, look at those there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import ExactName, IdPath, params_from
from app.api.jobs import accepted
from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams, Name, Seed, Source
from app.contracts.views import DatasetView, JobView
from app.deps import LabDep
from app.errors import InvalidInput
from app.services import datasets, jobs, uploads
from app.services.lab import Lab

router = APIRouter(prefix="/datasets", tags=["datasets"])


class ImportForm(BaseModel):
    """An archive of class folders, or the name of a dataset that the lab fetches or draws."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    file: UploadFile | None = Field(
        None, description="`.zip`, `.tar`, `.tar.gz` or `.tar.xz` with a folder for each class."
    )
    source: Source | None = Field(
        None, description="Instead of a file: `shapes`, `cifar10`, `cifar100` or `svhn`."
    )
    image_size: int = Field(32, json_schema_extra={"enum": [32, 64]})
    train_per_class: int | None = Field(None, description="How many images `shapes` draws.")
    seed: Seed = 0


@router.post("", status_code=202)
def add(lab: LabDep, response: Response, form: Annotated[ImportForm, Form()]) -> JobView:
    """Import a dataset; the archive's content is checked by the job that this starts."""
    values = form.model_dump(exclude={"file"}, exclude_none=True)
    if (form.file is None) == (form.source in (None, Source.ARCHIVE)):
        raise InvalidInput(
            "Send either an archive or the name of a source.",
            hint="`file` with an archive, or `source` with shapes, cifar10, cifar100 or svhn.",
            field="file",
        )
    if form.file is None:
        job = jobs.submit(lab, JobKind.IMPORT, params_from(ImportParams, values))
        return accepted(response, job)
    archive = {**values, "source": Source.ARCHIVE}
    with uploads.kept_if_used(lab, _saved(lab, form.file)) as upload:
        params = params_from(ImportParams, {**archive, "upload": upload})
        return accepted(response, jobs.submit(lab, JobKind.IMPORT, params))


def _saved(lab: Lab, file: UploadFile) -> str:
    return uploads.save_archive(lab, file.file, file.filename or "")


@router.get("")
def all_datasets(lab: LabDep, name: ExactName = None) -> list[DatasetView]:
    """All datasets, newest first."""
    return datasets.all_datasets(lab, name=name)


@router.get("/{dataset_id}")
def one(lab: LabDep, dataset_id: IdPath) -> DatasetView:
    """One dataset and what its import found."""
    return datasets.get(lab, dataset_id)
