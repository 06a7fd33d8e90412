"""The live view: attack one uploaded image, and see what teacher and student look at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile
from pydantic import Field

from app.api.fields import params_from
from app.api.jobs import accepted
from app.contracts.jobs import JobKind
from app.contracts.params import Attack, CraftedOn, ExplainParams, Id, Seed, parameter
from app.contracts.units import Intensity, from_255
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import jobs, uploads

router = APIRouter(prefix="/live", tags=["live"])


class LiveForm(Attack):
    """An image, two models of the same classes, and an attack; only the first three are needed."""

    image: UploadFile = Field(description="PNG, JPEG or WebP, at most 10 MB.")
    teacher: Id
    student: Id
    steps: int = parameter(10, title="Steps", help="Steps of PGD; FGSM takes one.", ge=1, le=1000)
    max_epsilon: Intensity = Field(from_255(16), description="The right end of the slider.")
    crafted_on: CraftedOn = Field(CraftedOn.STUDENT, description="The model under attack.")
    label: str | None = Field(None, description="The true class; else what the teacher sees.")
    seed: Seed = 0


_ATTACK = set(Attack.model_fields)


@router.post("", status_code=202)
def explain(lab: LabDep, response: Response, form: Annotated[LiveForm, Form()]) -> JobView:
    """Attack an image at every budget of the slider; the result holds all that a page shows."""
    values = form.model_dump(exclude={"image", *_ATTACK})
    attack = form.model_dump(include=_ATTACK)
    image = uploads.save_image(lab, form.image.file, form.image.filename or "")
    with uploads.kept_if_used(lab, image):
        params = params_from(ExplainParams, {**values, "attack": attack, "upload": image})
        return accepted(response, jobs.submit(lab, JobKind.EXPLAIN, params))
