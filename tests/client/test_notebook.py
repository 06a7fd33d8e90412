"""The notebook of the documents, run as it stands on a lab with an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from app.contracts.jobs import JobKind
from app.services.lab import Lab
from tests.plugins.lab_process import ROOT
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import add_job

KEPT, SIDE = 5, 8


def test_the_notebook_runs(
    lab: Lab, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = full_evaluation(images=60)
    job = add_job(lab, JobKind.EVALUATE, result.params, result=result)
    rng, folder = np.random.default_rng(0), lab.files.adversarial(job)
    clean = rng.integers(10, 245, (KEPT, 3, SIDE, SIDE), np.uint8)
    left = (clean / 255 + rng.choice([-8, 8], clean.shape) / 255).astype(np.float32)
    folder.mkdir()
    np.savez(folder / f"{result.models[0].model}.npz", clean=clean, adversarial=left,
             label=[0] * KEPT, prediction=[0, 1, 1, 1, 2])  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_URL", web)

    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    shown = []
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        *lines, last = cell["source"]
        before, after = "".join(lines), last
        if last.startswith((" ", ")")):  # a statement, which shows nothing
            exec(compile(before + last, cell["id"], "exec"), names)
            continue
        exec(compile(before, cell["id"], "exec"), names)
        shown.append(eval(after, names))
    names["lab"].close()
    (_, figure, sheet) = shown
    assert isinstance(figure, go.Figure)
    assert [trace.name for trace in figure.data] == [model.name for model in result.models]
    assert isinstance(sheet, Image.Image)
    assert sheet.size == (4 * KEPT * SIDE, 4 * 3 * SIDE)
    pixels = np.asarray(sheet)[::4, ::4].transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels[:, :SIDE, :SIDE], clean[0])
