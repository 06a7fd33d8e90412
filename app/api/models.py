"""Registered models: look, download, delete with a way back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from app.api.fields import IdPath, PageNumber, PageSize
from app.contracts.views import ModelView, Page
from app.deps import LabDep
from app.downloads import file_name
from app.services import models

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def page(
    lab: LabDep,
    deleted: Annotated[bool, Query(description="Those in the bin instead.")] = False,
    page: PageNumber = 1,
    page_size: PageSize = 100,
) -> Page[ModelView]:
    """Models, newest first."""
    return models.page(lab, deleted=deleted, page=page, page_size=page_size)


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
