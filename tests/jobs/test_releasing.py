"""A release on a real network: the ONNX file computes the same, and the package runs alone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ReleaseParams
from app.contracts.results import ReleaseResult
from app.services import releases
from app.services.lab import Lab
from app.settings import Settings
from tests.jobs.measured import open_measured, with_whole_cards
from tests.jobs.runs import events_of, run
from worker import registry
from worker.jobs import onnx_file
from worker.models import build

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_a_released_model_runs_without_the_lab(tmp_path: Path) -> None:
    measured = with_whole_cards(open_measured(tmp_path / "data"))
    row = run(measured.lab, JobKind.RELEASE, ReleaseParams(model=measured.student))
    assert row.status == JobStatus.SUCCEEDED, row.failure
    result = ReleaseResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    )
    assert result.onnx.checked_on == 40
    assert any("Logits differ" in str(event) for event in events_of(measured.lab, row.id))

    web = Lab.open(Settings(data_dir=measured.lab.files.root, redis_url="redis://127.0.0.1:1/0"))
    _, content = releases.package(web, row.id)
    with zipfile.ZipFile(io.BytesIO(b"".join(content))) as archive:
        archive.extractall(tmp_path / "package")
    web.close()

    images = measured.dataset.split("test").images[:6]
    model = registry.load_model(measured.lab.files, registry.model_row(
        measured.lab.database, measured.student))  # fmt: skip
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = model(x)
    session = onnxruntime.InferenceSession(tmp_path / "package" / "model.onnx")
    (logits,) = session.run(["logits"], {"images": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)

    names = [str(tmp_path / f"{number}.png") for number in range(len(images))]
    for name, pixels in zip(names, images, strict=True):
        Image.fromarray(np.asarray(pixels)).save(name)
    alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    load = str(tmp_path / "package" / "load.py")
    done = subprocess.run(
        [sys.executable, load, *names], cwd=tmp_path, env=alone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    classes = measured.dataset.class_names
    said = [
        line.removeprefix(f"{name} ")
        for name, line in zip(names, done.stdout.splitlines(), strict=True)
    ]
    assert said == [classes[k] for k in expected.argmax(dim=1).tolist()]


@pytest.mark.slow
def test_a_file_that_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """Written of one network, and compared with another one of the same shape."""
    torch.manual_seed(0)
    one, other = (
        build("wrn-10-1", num_classes=3, mean=(0.5,) * 3, std=(0.2,) * 3).eval() for _ in range(2)
    )
    path = tmp_path / "net.onnx"
    onnx_file.write(one, 32, path)
    assert onnx_file.check(one, 32, path).images == 40
    with pytest.raises(ValueError, match="its logits differ by up to"):
        onnx_file.check(other, 32, path)
