"""The live view: attack one uploaded image, and see what teacher and student look at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile
from pydantic import Field

from app.api.uploads import UploadForm, started, takes
from app.contracts.jobs import JobKind
from app.contracts.params import ExplainParams
from app.contracts.views import JobView
from app.deps import LabDep

router = APIRouter(prefix="/live", tags=["live"])


@takes(ExplainParams)
class LiveForm(UploadForm):
    """An image, two models of the same classes, and an attack; only the first three are needed."""

    image: UploadFile = Field(description="PNG, JPEG or WebP, at most 10 MB.")


@router.post("", status_code=202)
def explain(lab: LabDep, response: Response, form: Annotated[LiveForm, Form()]) -> JobView:
    """Attack an image at every budget of the slider; the result holds all that a page shows."""
    return started(lab, response, JobKind.EXPLAIN, form, form.image)
