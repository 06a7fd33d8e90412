"""The live view: attack one uploaded image, and see what each model looks at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Response, UploadFile
from pydantic import Field

from app.admission.routes import ByMethod
from app.api.fields import IdempotencyKey
from app.api.uploads import UploadForm, started, takes
from app.contracts.jobs import JobKind
from app.contracts.params import ExplainParams
from app.contracts.views import JobView
from app.deps import IdPath, LabDep
from app.services import reproducing
from app.services.exports import attachment, file_name
from app.services.uploads import MAX_IMAGE_BYTES

router = APIRouter(prefix="/live", tags=["live"], route_class=ByMethod)


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


_PNG, _ZIP = _file("image/png"), _file("application/zip")


@takes(ExplainParams)
class LiveForm(UploadForm):
    """An image, models of the same classes, and an attack; the first two are needed."""

    image: UploadFile = Field(
        description=f"PNG, JPEG or WebP, at most {MAX_IMAGE_BYTES // 2**20} MB."
    )


@router.post("", status_code=202)
def explain(
    lab: LabDep,
    response: Response,
    form: Annotated[LiveForm, Form()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Attack an image on every model, at every budget; the result holds all that a page shows."""
    return started(lab, response, JobKind.EXPLAIN, form, form.image, idempotency_key)


@router.get("/{job_id}/image.png", response_class=Response, responses=_PNG)
def image(lab: LabDep, job_id: IdPath) -> Response:
    """The image of a live attack: as it was sent, else as the models saw it."""
    return Response(reproducing.image(lab, job_id), media_type="image/png")


@router.get("/{job_id}/reproduction.zip", response_class=Response, responses=_ZIP)
def reproduction(lab: LabDep, job_id: IdPath) -> Response:
    """A finished live attack with all that it takes to compute it again: image, parameters, hashes
    of the models, the request as a line for a shell, and the result."""
    job, packed = reproducing.archive(lab, job_id)
    name = file_name(job.title, "live", job_id, ".zip")
    return Response(packed, media_type="application/zip", headers=attachment(name))
