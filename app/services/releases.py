"""A model as an archive for people who have no lab: weights, ONNX, card, figures, how to run it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from app.contracts.jobs import JobKind
from app.contracts.results import ReleaseResult
from app.contracts.views import ModelView
from app.errors import Conflict, InvalidInput, NotFound
from app.services import exports, jobs, models
from app.services.evaluations import Finished, finished
from app.services.lab import Lab
from app.services.model_card import card
from app.settings import VERSION
from app.store import measurements

_REQUIREMENTS = "numpy\nonnxruntime>=1.20\npillow\n"
_USAGE = '''\
"""Classify pictures: python load.py picture.png ..."""

import io, json, os, pathlib, sys
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # 1.32 sends its makers what it runs
import numpy as np, onnxruntime
from PIL import Image, ImageCms, ImageOps

CARD = json.loads(pathlib.Path(__file__).with_name("card.json").read_text("utf-8"))
NET = onnxruntime.InferenceSession(pathlib.Path(__file__).with_name("model.onnx"))


def load(path):
    """The square in the middle of a picture, upright and in sRGB, as (1, 3, H, W) in [0, 1]."""
    picture, side = ImageOps.exif_transpose(Image.open(path)), CARD["image_size"]
    if picture.mode not in ("L", "P", "RGB") or picture.has_transparency_data:
        raise ValueError(f"{path}: {picture.mode}; not RGB or grey of 8 bits that is opaque")
    if profile := picture.info.get("icc_profile"):
        theirs, ours = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        if "srgb" not in ImageCms.getProfileDescription(theirs).casefold():
            picture = ImageCms.profileToProfile(picture, theirs, ours, outputMode="RGB")
    edge = min(picture.size)
    left, top = ((length - edge) // 2 for length in picture.size)
    square = picture.convert("RGB").crop((left, top, left + edge, top + edge))
    return np.float32(square.resize((side, side), Image.LANCZOS)).transpose(2, 0, 1)[None] / 255


for name in sys.argv[1:] if __name__ == "__main__" else ():
    # Of images (N, 3, H, W) it gives logits, (N, K).
    print(name, CARD["classes"][NET.run(["logits"], {"images": load(name)})[0].argmax()])
'''


def package(lab: Lab, job_id: str) -> tuple[ModelView, Iterator[bytes]]:
    """The model of a release job, and a ZIP of it; its figures are those of today.

    Raises NotFound, InvalidInput for a job of another kind, Conflict before its success.
    """
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.RELEASE:
        raise InvalidInput(f"“{job.title}” is no release.", hint="Release a model on its page.")
    result = jobs.result_of(lab, job)
    assert isinstance(result, ReleaseResult)
    model, weights = models.weights(lab, result.model.id)
    onnx = lab.files.here(lab.files.onnx(job.result_name))
    if model.sha256 != result.model.sha256 or not onnx.exists():
        raise NotFound("The released files are gone.", hint="Release the model again.")
    texts = _texts(lab, model, result)
    # The large ones by the sums that were taken when they were made: damage since then shows.
    sums = {"model.onnx": result.onnx.sha256, "model.safetensors": model.sha256}
    sums |= {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    listed = "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items())
    texts["SHA256SUMS"] = listed.encode()
    large = {"model.onnx": onnx, "model.safetensors": weights}
    return model, exports.streamed_zip(partial(_write, large, texts))


def _write(large: Mapping[str, Path], small: Mapping[str, bytes], archive: zipfile.ZipFile) -> None:
    """Large files do not get smaller by compression."""
    for name, text in small.items():
        archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    for name, path in large.items():
        archive.write(path, name)


def _texts(lab: Lab, model: ModelView, result: ReleaseResult) -> dict[str, bytes]:
    evaluation = _strongest(lab, model)
    measured = None if evaluation is None else evaluation.result
    files = {
        "README.md": card(model, result.onnx, measured, usage=_USAGE, version=VERSION),
        "card.json": model.card.model_dump_json(indent=2),
        "load.py": _USAGE,
        "requirements.txt": _REQUIREMENTS,
    }
    if model.card.params is not None:
        asked = {"kind": JobKind.TRAIN, "params": model.card.params.model_dump(mode="json")}
        files["job.json"] = json.dumps(asked, indent=2, ensure_ascii=False)
    if evaluation is not None:
        files["evaluation.json"] = exports.of_finished(lab, evaluation).model_dump_json()
    return {name: text.encode() for name, text in files.items()}


def _strongest(lab: Lab, model: ModelView) -> Finished | None:
    """The evaluation that its figures come from: under the threat model that it was trained for,
    else under any, and of these by the board's order.
    """
    found = measurements.strongest(lab.database, model.id, model.card.trained_for)
    try:
        return None if found is None else finished(lab, found)
    except (Conflict, NotFound):  # left in a form that is not read any more, or its file is gone
        return None
