"""Releases as archives."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.admission.routes import ByMethod
from app.api.exports import ZIP
from app.deps import IdPath, LabDep
from app.services import releases
from app.services.exports import attachment, file_name

router = APIRouter(prefix="/jobs", tags=["exports"], route_class=ByMethod)


@router.get("/{job_id}/release.zip", response_class=StreamingResponse, responses=ZIP)
def archive(lab: LabDep, job_id: IdPath) -> StreamingResponse:
    """The released model for people without a lab: safetensors, ONNX, a model card with its
    strongest evaluation and its verdict, the jobs that train and measure it, and Python that runs
    it."""
    model, content = releases.package(lab, job_id)
    name = file_name(model.name, "model", model.id, ".zip")
    return StreamingResponse(content, media_type="application/zip", headers=attachment(name))
