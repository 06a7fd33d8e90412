"""Registered models: import, look, download, delete with a way back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Form, Query, Response, UploadFile
from fastapi.responses import FileResponse
from pydantic import Field, TypeAdapter

from app.admission.routes import ByMethod
from app.api.fields import ExactName, IdempotencyKey, PageSize, strict_json
from app.api.jobs import accepted
from app.api.uploads import UploadForm, parameters, started, takes
from app.contracts.changes import Changes, Tag
from app.contracts.jobs import JobKind
from app.contracts.params import ImportModelParams
from app.contracts.views import JobView, ModelView, Page
from app.deps import IdPath, LabDep, PageNumber
from app.services import jobs, models
from app.services.exports import file_name

router = APIRouter(prefix="/models", tags=["models"], route_class=ByMethod)
_CHANGES: TypeAdapter[Changes] = TypeAdapter(Changes)


@takes(ImportModelParams)
class ImportModelForm(UploadForm):
    """A model that was trained elsewhere, its network, and what shows that it fits."""

    file: UploadFile | None = Field(
        None,
        description="`.safetensors`, a `.pt` or `.pth` that holds a state dict, or `.onnx`; none "
        "for a model behind an `address`.",
    )


@router.post("", status_code=202)
def add(
    lab: LabDep,
    response: Response,
    form: Annotated[ImportModelForm, Form()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Import a model; the job that this starts checks what the file holds, or what the address
    answers, and registers what fits.

    `classes`, `mean` and `std` are sent as one field for each entry, in order.
    """
    if form.file is None:
        params = parameters(ImportModelParams, form)
        job = jobs.submit(lab, JobKind.IMPORT_MODEL, params, idempotency_key=idempotency_key)
        return accepted(response, job)
    return started(lab, response, JobKind.IMPORT_MODEL, form, form.file, idempotency_key)


@router.get("")
def page(
    lab: LabDep,
    deleted: Annotated[bool, Query(description="Those in the bin instead.")] = False,
    name: ExactName = None,
    tag: Annotated[Tag | None, Query(description="Only those that have it.")] = None,
    page: PageNumber = 1,
    page_size: PageSize = 100,
) -> Page[ModelView]:
    """Models, newest first."""
    return models.page(lab, deleted=deleted, name=name, tag=tag, page=page, page_size=page_size)


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
    """The weights as safetensors; of a black box its ONNX file, or how it is asked."""
    view, path = models.weights(lab, model_id)
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=file_name(view.name, "model", view.id, path.suffix),
        headers={"ETag": f'"{view.sha256}"'},
    )


@router.patch("/{model_id}", dependencies=[Depends(strict_json(_CHANGES, tagged=False))])
def change(lab: LabDep, model_id: IdPath, changes: Annotated[Changes, Body()]) -> ModelView:
    """Rename, note, tag or archive it; what is left out stays."""
    models.change(lab, [model_id], changes)
    return models.get(lab, model_id)


@router.delete("/{model_id}", status_code=204)
def delete(lab: LabDep, model_id: IdPath) -> None:
    """Move a model into the bin, where it stays for a week; 409 while a job needs it."""
    models.delete(lab, model_id)


@router.post("/{model_id}/restore")
def restore(lab: LabDep, model_id: IdPath) -> ModelView:
    """Take a model out of the bin."""
    models.restore(lab, model_id)
    return models.get(lab, model_id)
