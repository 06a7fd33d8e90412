"""Finished evaluations as files, and the same job once more from such a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse, StreamingResponse

from app.admission.routes import ByMethod
from app.api.fields import IdempotencyKey, large_json
from app.api.jobs import accepted
from app.contracts.export import MAX_VALUES, Export
from app.contracts.views import JobView
from app.deps import IdPath, LabDep
from app.services import adversarial, exports
from app.services.exports import attachment, file_name

router = APIRouter(prefix="/jobs", tags=["exports"], route_class=ByMethod)

_EXPORT_BODY = {"application/json": {"schema": {"$ref": "#/components/schemas/Export"}}}
CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}

ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


@router.post(
    "/rerun",
    status_code=202,
    openapi_extra={"requestBody": {"required": True, "content": _EXPORT_BODY}},
)
def rerun(
    lab: LabDep,
    response: Response,
    # Not a body of the framework's, which would read it on the event loop.
    body: Annotated[Export, Depends(large_json(Export, most_values=MAX_VALUES))],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Run an exported evaluation again; follow it at `Location`.

    The export may come from another lab: checksums say which dataset and models are meant. 409
    where this lab has not the same data or weights. On a CPU the figures are the same to the last
    bit.
    """
    return accepted(response, exports.rerun(lab, body, idempotency_key=idempotency_key))


@router.get("/{job_id}/export.json", response_model=Export)
def as_json(lab: LabDep, job_id: IdPath) -> Response:
    """A finished evaluation with all that it needs to be judged, and to be run again."""
    exported = exports.export(lab, job_id)
    name = file_name(exported.job.title, "evaluation", job_id, ".json")
    return Response(
        exported.model_dump_json(), media_type="application/json", headers=attachment(name)
    )


@router.get("/{job_id}/export.csv", response_class=StreamingResponse, responses=CSV)
def as_csv(lab: LabDep, job_id: IdPath) -> StreamingResponse:
    """The figures, one row each: what was measured of which model, its value, interval and n.

    Columns: `job`, `model`, `name`, `verdict`, `quantity`, `item` (the attack, class, corruption or
    measure), `x` (budget in [0, 1], steps, restarts, queries, severity, or the attack's number),
    `value`, `low`, `high` (95 %), `n`. A text that a spreadsheet would take for a formula begins
    with an apostrophe.
    """
    job, lines = exports.figures_csv(lab, job_id)
    return csv(lines, file_name(job.title, "evaluation", job_id, ".csv"))


@router.get("/{job_id}/images.csv", response_class=StreamingResponse, responses=CSV)
def images_as_csv(lab: LabDep, job_id: IdPath) -> StreamingResponse:
    """What happened to each image under each model, one row each.

    Columns: `job`, `model`, `name`, `number` (within the dataset's test part), `label`, `clean`,
    `worst` (the prediction for the example that broke it) with their names, `broken_by` (the number
    of the attack; 0 wrong on the clean image, -1 it stands) with its name, `minimal_epsilon` (in
    [0, 1]; empty where the largest budget tried does not break it).
    """
    job, lines = exports.images_csv(lab, job_id)
    return csv(lines, file_name(job.title, "evaluation", job_id, "-images.csv"))


@router.get("/{job_id}/adversarial/{model_id}.npz", response_class=FileResponse, responses=BINARY)
def adversarial_arrays(lab: LabDep, job_id: IdPath, model_id: IdPath) -> FileResponse:
    """The images that an evaluation kept of a model (`keep_adversarial`), as arrays of NumPy.

    `clean` (N, 3, H, W) in 0 to 255, `adversarial` likewise in [0, 1]; `number`, `label`,
    `clean_prediction`, `prediction`, `prediction_8bit` (after rounding to 256 values) and
    `broken_by` (the number of the attack; 0 wrong on the clean image, -1 it stands), (N,); and of
    all of them `attacks`, `classes`, `norm`, `epsilon`, `model_sha256`, `dataset_sha256`.
    """
    found = adversarial.held(lab, job_id, model_id)
    name = file_name(found.model.name, "model", job_id, "-adversarial.npz")
    return FileResponse(found.path, media_type="application/octet-stream", filename=name)


@router.get("/{job_id}/adversarial/{model_id}.zip", response_class=StreamingResponse, responses=ZIP)
def adversarial_pictures(lab: LabDep, job_id: IdPath, model_id: IdPath) -> StreamingResponse:
    """The same as PNG, clean and adversarial by number, with `images.csv`. Rounding to 256 values
    may undo an attack: the table says what the model makes of the rounded image.
    """
    found = adversarial.held(lab, job_id, model_id)
    name = file_name(found.model.name, "model", job_id, "-adversarial.zip")
    return StreamingResponse(
        adversarial.pictures(found), media_type="application/zip", headers=attachment(name)
    )


def csv(lines: Iterator[str], name: str) -> StreamingResponse:
    """Lines of CSV as a file."""
    return StreamingResponse(lines, media_type="text/csv", headers=attachment(name))
