"""What the documents show to type, run as it stands: the README's session, the client's tour."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from tests.e2e.lab_client import LabClient
from tests.plugins.lab_process import PATIENCE_S, ROOT


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block that is to be typed, in order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def _typed_into_a_shell(session: str, folder: Path, **variables: str) -> None:
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", session],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{session}\n{done.stderr[-2000:]}"


def test_the_rest_session_works_as_written(api: LabClient, tmp_path: Path) -> None:
    ((language, session),) = _blocks(ROOT / "README.md")
    assert language == "sh"
    _typed_into_a_shell(session, tmp_path, LAB=api.process.url, EPOCHS="1", IMAGES="20")
    live = json.loads((tmp_path / "live.json").read_text())
    assert len(live["levels"]) == 17
    assert safetensors.torch.load_file(tmp_path / "student.safetensors")
    names = {model["name"] for model in api.get("/api/models")["items"]}
    assert {"Teacher", "Student"} <= names


def test_the_clients_tour_works_as_written(
    api: LabClient, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python blocks are one session, as in a notebook; shell blocks are typed in between."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_URL", api.process.url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "photos.zip").symlink_to(archive)
    blocks = _blocks(ROOT / "docs" / "client.md")
    assert {language for language, _ in blocks} == {"sh", "python"}
    notebook: dict[str, Any] = {}
    for language, text in blocks:
        if language == "sh":
            _typed_into_a_shell(text, tmp_path)
        else:
            exec(compile(text, "docs/client.md", "exec"), notebook)
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
