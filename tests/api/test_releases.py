"""The package of a released model: what is in it, and that no name from outside breaks it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from PIL import Image
from sqlalchemy import update

from app.contracts.export import Export
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe, ReleaseParams, TrainParams
from app.contracts.results import Environment, Light, Lineage, OnnxFile, ReleaseResult
from app.contracts.units import from_255
from app.services.lab import Lab
from app.store.tables import ModelRow
from tests.api.problems import problem
from tests.data.colour_spaces import ADOBE_RGB, DISPLAY_P3
from tests.plugins.stock import WEIGHTS, stock_model
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import add_job, train_params
from tests.web.parsing import parsed, text_of
from worker.data import decode_image

ONNX = b"an ONNX file"
HOSTILE = "---\nx: [*a]\n<script>alert(1)</script> **N** | `y` \U0001f600"[4:]


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def released(lab: Lab, model: str) -> str:
    """A release job that succeeded."""
    with lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == model).values(sha256=_sum(WEIGHTS)))
    result = ReleaseResult(
        model=Lineage(id=model, name="Teacher", sha256=_sum(WEIGHTS)),
        onnx=OnnxFile(
            sha256=_sum(ONNX), size_bytes=len(ONNX), opset=20, checked_on=40, difference=2e-7
        ),
        environment=Environment(code_version="0", torch="0", device="cpu", threads=1, seconds=1.0),
    )
    job = add_job(lab, JobKind.RELEASE, ReleaseParams(model=model), result=result)
    lab.files.onnx(job).write_bytes(ONNX)
    return job


def files_of(client: httpx.Client, job: str) -> dict[str, bytes]:
    answer = client.get(f"/api/jobs/{job}/release.zip")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def top_and_text(files: dict[str, bytes]) -> tuple[dict[str, Any], str]:
    text = files["README.md"].decode()
    before, top, after = text.split("---\n", 2)
    assert before == ""
    return yaml.safe_load(top), after


def trained(lab: Lab, model: str, epsilon: float) -> None:
    """Let a model be one that PGD-AT trained with this budget."""
    with lab.database.writing() as session:
        row = session.get_one(ModelRow, model)
        params = row.card["params"] | {"recipe": Recipe.PGD_AT, "epsilon": epsilon}
        row.card = row.card | {"params": params}


def evaluate(lab: Lab, model: str, light: Light = Light.GREEN, **more: Any) -> Any:
    result = full_evaluation([(model, "Teacher", Recipe.CLEAN)], images=60, light=light)
    add_job(lab, JobKind.EVALUATE, result.params, result=result, **more)
    return result


def test_a_package_has_all_that_a_model_needs(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    result = evaluate(lab, model, Light.AMBER)
    files = files_of(client, released(lab, model))
    assert set(files) == {
        "README.md", "SHA256SUMS", "card.json", "evaluation.json", "job.json", "load.py",
        "model.onnx", "model.safetensors", "requirements.txt",
    }  # fmt: skip
    assert (files["model.onnx"], files["model.safetensors"]) == (ONNX, WEIGHTS)
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {n: _sum(data) for n, data in files.items() if n != "SHA256SUMS"}
    assert Export.model_validate_json(files["evaluation.json"]).result == result
    job = json.loads(files["job.json"])
    assert job["kind"] == "train"
    TrainParams.model_validate(job["params"])
    lines = [line.strip() for line in files["load.py"].decode().splitlines()]
    assert sum(bool(line) and not line.startswith(('"""', "#")) for line in lines) == 20
    assert "onnxruntime" in files["requirements.txt"].decode()


def test_the_card_has_the_figures_and_the_verdict(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    result = evaluate(lab, model, Light.AMBER)
    (figures,) = result.models
    top, text = top_and_text(files_of(client, released(lab, model)))
    (entry,) = top["model-index"]
    assert entry["name"] == "Teacher"
    (measured,) = entry["results"]
    assert measured["task"]["type"] == "image-classification"
    assert measured["dataset"]["name"] == result.dataset.name
    clean, robust = measured["metrics"]
    assert (clean["type"], clean["value"]) == ("accuracy", figures.clean.value)
    assert robust["value"] == figures.robust.value
    assert "8/255 (L∞)" in robust["name"]
    assert robust["verdict"] == "amber"
    assert "amber: upper bound" in text
    doubts = [check for check in figures.verdict.checks if check.light is not Light.GREEN]
    html = MarkdownIt().enable("table").render(text)
    assert doubts
    said = text_of(parsed(html))
    assert all((check.problem or check.title) in said for check in doubts)


def test_figures_are_of_the_strongest_evaluation_on_the_list(
    client: httpx.Client, lab: Lab
) -> None:
    model = stock_model(lab)
    job = released(lab, model)
    assert "no evaluation" in top_and_text(files_of(client, job))[1]
    assert "evaluation.json" not in files_of(client, job)
    evaluate(lab, model, Light.GREEN, deleted_at=1.0)
    assert "evaluation.json" not in files_of(client, job)
    evaluate(lab, model, Light.RED)
    assert "red: invalid" in top_and_text(files_of(client, job))[1]


def test_figures_are_under_the_threat_model_that_it_was_trained_for(
    client: httpx.Client, lab: Lab
) -> None:
    model = stock_model(lab)
    job = released(lab, model)
    own = full_evaluation([(model, "Teacher", Recipe.AGKD_BML)], images=60)
    weaker = own.params.model_copy(update={"epsilon": from_255(1)})
    other = own.model_copy(update={"params": weaker})
    add_job(lab, JobKind.EVALUATE, own.params, result=own, finished_at=1.0)
    add_job(lab, JobKind.EVALUATE, weaker, result=other, finished_at=2.0)
    text = top_and_text(files_of(client, job))[1]
    assert "1/255 (L∞)" in text
    assert "none is known that it was trained for" in text

    trained(lab, model, from_255(8))
    text = top_and_text(files_of(client, job))[1]
    assert "8/255 (L∞)" in text
    assert "1/255 (L∞)" not in text
    assert "under the threat model that it was trained for" in text

    trained(lab, model, from_255(4))
    text = top_and_text(files_of(client, job))[1]
    assert "| Threat model | 1/255 (L∞)" in text
    assert "none is under 4/255 (L∞), any wrong class, that it was trained for" in text


def test_an_evaluation_that_cannot_be_read_is_told_from_none(
    client: httpx.Client, lab: Lab
) -> None:
    model = stock_model(lab)
    result = full_evaluation([(model, "Teacher", Recipe.CLEAN)], images=60)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    lab.files.result(job).write_bytes(b"{}")
    files = files_of(client, released(lab, model))
    assert "no evaluation of it that can be read" in top_and_text(files)[1]
    assert "evaluation.json" not in files


@pytest.fixture
def load(
    client: httpx.Client, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], np.ndarray]:
    """How a package reads a picture: (1, 3, 32, 32)."""
    source = files_of(client, released(lab, stock_model(lab)))["load.py"].decode()
    (tmp_path / "card.json").write_text('{"image_size": 32, "classes": []}')
    runtime = SimpleNamespace(InferenceSession=lambda path: None)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)  # type: ignore[arg-type]
    names: dict[str, Any] = {"__file__": str(tmp_path / "load.py"), "__name__": "load"}
    exec(source, names)
    return names["load"]


def test_the_package_tells_nobody_what_it_runs(
    client: httpx.Client, lab: Lab, tmp_path: Path
) -> None:
    """onnxruntime reads the variable when it is imported."""
    files = files_of(client, released(lab, stock_model(lab)))
    for name in ("load.py", "card.json"):
        (tmp_path / name).write_bytes(files[name])
    (tmp_path / "onnxruntime.py").write_text(
        "import os\nprint(os.environ.get('ORT_DISABLE_TELEMETRY'))\nInferenceSession = str\n"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    run = [sys.executable, str(tmp_path / "load.py")]
    said = subprocess.run(run, env=alone, capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"


@pytest.mark.parametrize(
    "profile", [None, ADOBE_RGB.profile, DISPLAY_P3.profile], ids=["sRGB", "Adobe RGB", "P3"]
)
def test_the_package_sees_a_picture_as_the_lab_does(
    load: Callable[[Path], np.ndarray], tmp_path: Path, profile: bytes | None
) -> None:
    """Wide, on its side, and an odd number of pixels too long for a square."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 95, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture = tmp_path / "picture.png"
    Image.fromarray(pixels).save(picture, exif=exif, icc_profile=profile)
    expected = decode_image(picture.read_bytes(), image_size=32)
    found = np.rint(255 * load(picture)[0]).transpose(1, 2, 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["16 bits", "see-through", "see-through palette", "four inks"])
def test_the_package_refuses_a_picture_that_has_to_be_converted(
    load: Callable[[Path], np.ndarray], tmp_path: Path, kind: str
) -> None:
    image, name, options = {
        "16 bits": (Image.new("I;16", (32, 32)), "a.png", {}),
        "see-through": (Image.new("RGBA", (32, 32)), "a.png", {}),
        "see-through palette": (Image.new("P", (32, 32)), "a.png", {"transparency": 0}),
        "four inks": (Image.new("CMYK", (32, 32)), "a.jpg", {}),
    }[kind]
    image.save(tmp_path / name, **options)
    with pytest.raises(ValueError, match=f"{name}: .*not RGB or grey of 8 bits"):
        load(tmp_path / name)


def test_names_from_outside_are_only_names(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab, classes=(HOSTILE, "b", "c"))
    with lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == model).values(name=HOSTILE))
    top, text = top_and_text(files_of(client, released(lab, model)))
    assert top["model-index"][0]["name"] == HOSTILE
    html = MarkdownIt().enable("table").render(text)
    assert "<script" not in html
    assert "<strong>N</strong>" not in html


def test_what_is_no_finished_release_has_no_package(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    waiting = add_job(lab, JobKind.RELEASE, ReleaseParams(model=model))
    other = add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.RUNNING)
    gone = released(lab, model)
    lab.files.onnx(gone).unlink()
    for job, status in ((waiting, 409), (other, 422), (gone, 404), ("0" * 32, 404)):
        problem(client.get(f"/api/jobs/{job}/release.zip"), status)


@pytest.mark.parametrize("model", ["0" * 32, "nonsense"])
def test_only_models_of_the_lab_are_released(client: httpx.Client, model: str) -> None:
    asked = {"kind": "release", "params": {"model": model}}
    assert problem(client.post("/api/jobs", json=asked), 422) == ["model"]


def test_a_model_is_released_from_its_page(client: httpx.Client, lab: Lab) -> None:
    model = stock_model(lab)
    answer = client.post(f"/models/{model}/release")
    assert answer.status_code == 303
    job = answer.headers["location"].removeprefix("/jobs/")
    view = client.get(f"/api/jobs/{job}").json()
    assert (view["kind"], view["title"]) == ("release", "Release Teacher")
    page = client.get(f"/jobs/{job}").text
    assert "release.zip" not in page
    assert f'href="/models/{model}"' in page
    assert (
        f"/api/jobs/{(done := released(lab, model))}/release.zip"
        in client.get(f"/jobs/{done}").text
    )
