"""Registered models: import, look, download, delete with a way back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import ExactName, IdPath, PageNumber, PageSize, params_from
from app.api.jobs import accepted
from app.contracts.jobs import JobKind
from app.contracts.params import Architecture, Finite, Id, ImportModelParams, Name
from app.contracts.views import JobView, ModelView, Page
from app.deps import LabDep
from app.downloads import file_name
from app.services import jobs, models, uploads

router = APIRouter(prefix="/models", tags=["models"])


class ImportModelForm(BaseModel):
    """Weights that were trained elsewhere, their network, and what shows that they fit."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    file: UploadFile = Field(
        description="`.safetensors`, or a `.pt` or `.pth` that holds a state dict."
    )
    architecture: Architecture
    dataset: Id = Field(description="Whose classes, image size and test images it is checked on.")
    classes: list[Name] | None = Field(
        None, description="One field for each output of the head, in order; else the dataset's."
    )
    mean: list[Finite] | None = Field(
        None, description="Three fields: red, green, blue; else the file's own, or 0."
    )
    std: list[Finite] | None = Field(None, description="Three fields; else the file's own, or 1.")
    expected: Finite | None = Field(None, description="Clean accuracy on test images, a share.")
    tolerance: Finite | None = Field(None, description="How far from it is near, a share.")


@router.post("", status_code=202)
def add(lab: LabDep, response: Response, form: Annotated[ImportModelForm, Form()]) -> JobView:
    """Import a model; the job that this starts checks the file and registers what fits."""
    values = form.model_dump(exclude={"file"}, exclude_none=True)
    file = uploads.save_weights(lab, form.file.file, form.file.filename or "")
    with uploads.kept_if_used(lab, file) as upload:
        params = params_from(ImportModelParams, {**values, "upload": upload})
        return accepted(response, jobs.submit(lab, JobKind.IMPORT_MODEL, params))


@router.get("")
def page(
    lab: LabDep,
    deleted: Annotated[bool, Query(description="Those in the bin instead.")] = False,
    name: ExactName = None,
    page: PageNumber = 1,
    page_size: PageSize = 100,
) -> Page[ModelView]:
    """Models, newest first."""
    return models.page(lab, deleted=deleted, name=name, page=page, page_size=page_size)


@router.get("/{model_id}")
def one(lab: LabDep, model_id: IdPath) -> ModelView:
    """One model with its card: lineage, parameters and validation figures."""
    return models.get(lab, model_id)


@router.get(
    "/{model_id}/weights",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def weights(lab: LabDep, model_id: IdPath) -> FileResponse:
    """The weights as safetensors."""
    view, path = models.weights(lab, model_id)
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=file_name(view.name, "model", view.id, ".safetensors"),
        headers={"ETag": f'"{view.sha256}"'},
    )


@router.delete("/{model_id}", status_code=204)
def delete(lab: LabDep, model_id: IdPath) -> None:
    """Move a model into the bin, where it stays for a week; 409 while a job needs it."""
    models.delete(lab, model_id)


@router.post("/{model_id}/restore")
def restore(lab: LabDep, model_id: IdPath) -> ModelView:
    """Take a model out of the bin."""
    return models.restore(lab, model_id)
