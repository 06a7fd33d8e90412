"""The release job: a model becomes an ONNX file that was shown to compute the same.

Everything else of a release package is known without torch, and is put around it when it is asked
for: its figures are then those of the day.
"""

from __future__ import annotations

import hashlib

from app.contracts.params import ReleaseParams
from app.contracts.results import OnnxFile, ReleaseResult
from app.errors import JobError
from worker import registry
from worker.jobs import onnx_file
from worker.jobs.context import JobContext, Outcome


def run(context: JobContext, params: ReleaseParams) -> Outcome:
    """Write and check the file. Raises JobError where it cannot be made, or computes otherwise."""
    row = registry.model_row(context.lab.database, params.model)
    model = registry.load_model(context.lab.files, row, features=False).to("cpu")
    side, path = row.card["image_size"], context.lab.files.onnx(context.claim.result_name)
    context.progress(0, 2, "writing ONNX")
    try:
        onnx_file.write(model, side, path)
    except ImportError as error:
        raise JobError(
            f"This worker cannot write ONNX: {error}.",
            hint="Install onnx, onnxscript and onnxruntime where the worker runs.",
        ) from error
    except Exception as error:  # whatever one of a thousand networks makes the exporter raise
        raise JobError(
            f"The network cannot be written as ONNX: {type(error).__name__}.",
            hint="The weights can be downloaded as safetensors from the model's page.",
        ) from error
    context.progress(1, 2, "comparing logits")
    try:
        checked = onnx_file.check(model, side, path)
    except ValueError as error:
        path.unlink()
        raise JobError(f"The ONNX file does not compute the same: {error}.") from error
    context.log(
        f"Logits differ by at most {checked.difference:.1e} on {checked.images} random images."
    )
    data = path.read_bytes()
    written = OnnxFile(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        opset=onnx_file.OPSET,
        checked_on=checked.images,
        difference=checked.difference,
    )
    context.progress(2, 2, "comparing logits")
    return Outcome(
        ReleaseResult(
            model=registry.lineage_of_model(row),
            onnx=written,
            environment=registry.environment(context.seconds),
        ),
        files=[path],
    )
