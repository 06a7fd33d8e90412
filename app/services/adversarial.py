"""The adversarial images that an evaluation kept: as arrays, and as pictures with a table."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contracts.results import EvaluationResult, ModelFigures
from app.contracts.views import JobView
from app.errors import NotFound
from app.services import spreadsheets
from app.services.datasets import png
from app.services.evaluations import finished
from app.services.exports import streamed_zip
from app.services.lab import Lab


class Held(NamedTuple):
    """The file of one model in one evaluation."""

    job: JobView
    result: EvaluationResult
    model: ModelFigures
    path: Path


def held(lab: Lab, job_id: str, model_id: str) -> Held:
    """The NPZ file (docs/exports.md). Raises NotFound, InvalidInput, Conflict."""
    job, result = finished(lab, job_id)
    model = next((one for one in result.models if one.model == model_id), None)
    if model is None:
        raise NotFound("The evaluation did not measure that model.", hint="See its page.")
    path = lab.files.here(lab.files.adversarial(job.result_name) / f"{model_id}.npz")
    if not path.exists():
        raise NotFound(
            "The evaluation kept no adversarial images.",
            hint="Run it again, and say under “More pictures” how many to keep.",
        )
    return Held(job, result, model, path)


def pictures(found: Held) -> Iterator[bytes]:
    """A ZIP, piece by piece: each image clean and adversarial as PNG, and a table of them.

    A PNG has 256 values a colour; what rounding to them does to an attack is in the table.
    """
    return streamed_zip(partial(_write, found))


def _write(found: Held, archive: zipfile.ZipFile) -> None:
    with np.load(found.path) as arrays:
        lines = spreadsheets.adversarial(found.job.id, found.model, found.result, arrays)
        archive.writestr("images.csv", "".join(lines), zipfile.ZIP_DEFLATED)
        numbers = arrays["number"].tolist()
        for kind in ("clean", "adversarial"):
            for number, pixels in zip(numbers, arrays[kind], strict=True):
                archive.writestr(f"{kind}/{number:06d}.png", _png(pixels))


def _png(pixels: NDArray[Any]) -> bytes:
    """Of pixels (3, H, W), whole numbers from 0 to 255, or floats in [0, 1]."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return png(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
