"""What it takes to compute a live attack again: its image, and all of it as an archive."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shlex
import zipfile

from app.contracts.jobs import JobKind
from app.contracts.params import ExplainParams
from app.contracts.results import ExplainResult
from app.contracts.views import JobView
from app.errors import InvalidInput
from app.services import jobs
from app.services.lab import Lab

_TOLD = """\
A live attack of AGKD-BML Lab, to be computed again.

  image.png    the image as it was sent, or where the lab has forgotten it, as the models saw it
  config.json  the parameters, and the models with the SHA-256 of their weights
  result.json  what came of it: pictures, maps and figures
  SHA256SUMS   of these files: `sha256sum -c SHA256SUMS`
  again.sh     the same attack by the REST API: `LAB=http://127.0.0.1:8000 sh again.sh`

A lab has the models under the same ids if it started with them, or trained them itself.
On a processor of the same kind the figures are the same.
"""


def archive(lab: Lab, job_id: str) -> tuple[JobView, bytes]:
    """The job, and a ZIP with its image, parameters, hashes and result.

    Raises NotFound, Conflict while there is no result, InvalidInput for a job of another kind.
    """
    job = _live_attack(lab, job_id)
    result = _result(lab, job)
    files = {
        "image.png": _sent(lab, result.params.upload) or base64.b64decode(result.clean_png),
        "config.json": _config(job, result),
        "result.json": jobs.result_json(lab, job_id),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    files |= {
        "SHA256SUMS": sums.encode(),
        "again.sh": _request(result.params).encode(),
        "README.txt": _TOLD.encode(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return job, packed.getvalue()


def image(lab: Lab, job_id: str) -> bytes:
    """The image of a live attack in any state, as PNG: as it was sent, and where the lab has
    forgotten that, as the models saw it.

    Raises NotFound, InvalidInput for a job of another kind, Conflict where neither is there.
    """
    job = _live_attack(lab, job_id)
    sent = _sent(lab, job.params.get("upload", ""))
    return sent or base64.b64decode(_result(lab, job).clean_png)


def _live_attack(lab: Lab, job_id: str) -> JobView:
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.EXPLAIN:
        raise InvalidInput("That job is no live attack.", hint="Choose one on the jobs page.")
    return job


def _result(lab: Lab, job: JobView) -> ExplainResult:
    result = jobs.result_of(lab, job)
    assert isinstance(result, ExplainResult)
    return result


def _sent(lab: Lab, upload: str) -> bytes | None:
    try:
        return lab.files.here(lab.files.upload(upload)).read_bytes()
    except OSError:
        return None


def _config(job: JobView, result: ExplainResult) -> bytes:
    facts = {
        "job": job.id,
        "params": result.params.model_dump(mode="json", exclude={"upload"}),
        "models": [model.model_dump(mode="json") for model in result.models],
        "environment": result.environment.model_dump(mode="json"),
    }
    return json.dumps(facts, indent=2, ensure_ascii=False).encode()


def _request(params: ExplainParams) -> str:
    """The form of `POST /api/live` as a line for a shell; names and classes are outside text."""
    flat = params.model_dump(mode="json", exclude={"upload"})
    flat |= flat.pop("attack")
    entries = [(name, one) for name, many in flat.items() for one in _each(many)]
    forms = " ".join(f"--form-string {shlex.quote(f'{name}={_typed(v)}')}" for name, v in entries)
    return f'curl -sSf "$LAB/api/live" -F image=@image.png {forms}\n'


def _each(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _typed(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
