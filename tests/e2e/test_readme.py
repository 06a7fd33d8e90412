"""The README's shell session, run as it stands, on small numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import safetensors.torch

from tests.e2e.lab_client import LabClient
from tests.plugins.lab_process import ROOT


def test_the_rest_session_works_as_written(api: LabClient, tmp_path: Path) -> None:
    (session,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", session],
        cwd=tmp_path,
        env={**os.environ, "LAB": api.process.url, "EPOCHS": "1", "IMAGES": "20"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    live = json.loads((tmp_path / "live.json").read_text())
    assert len(live["levels"]) == 17
    assert safetensors.torch.load_file(tmp_path / "student.safetensors")
    names = {model["name"] for model in api.get("/api/models")["items"]}
    assert {"Teacher", "Student"} <= names


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
