"""What the documents show to type, run as it stands: the README's session, the client's tour.

The documents name things as if there were no others: these are the first tests in their lab.
"""

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


@pytest.fixture
def folder(api: LabClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the commands work, and find the lab, the client and Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB", api.process.url)
    monkeypatch.setenv("LAB_URL", api.process.url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def _blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each block that is to be typed, in order."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _type_into_a_shell(text: str) -> None:
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", text],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stderr[-2000:]}"


def test_the_readme_works_as_written(
    api: LabClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCHS", "1")
    monkeypatch.setenv("IMAGES", "15")  # more than a batch of them to train on
    blocks = dict(_blocks("README.md"))
    _type_into_a_shell(blocks["sh"])
    live = json.loads((folder / "live.json").read_text())
    assert len(live["budgets"]) == 17
    assert safetensors.torch.load_file(folder / "student.safetensors")
    names = {model["name"] for model in api.get("/api/models")["items"]}
    assert names == {"Teacher", "Student"}
    report = (folder / "report.html").read_text()
    # What it shows from Python is done with the models of the session.
    exec(compile(blocks["python"], "README.md", "exec"), {})
    assert (folder / "report.html").read_text() != report


def test_the_clients_tour_works_as_written(folder: Path, archive: Path) -> None:
    """Python blocks are one session, as in a notebook; shell blocks are typed in between."""
    (folder / "photos.zip").symlink_to(archive)
    blocks = _blocks("docs/client.md")
    assert {language for language, _ in blocks} == {"sh", "python"}
    notebook: dict[str, Any] = {}
    for language, text in blocks:
        if language == "sh":
            _type_into_a_shell(text)
        else:
            exec(compile(text, "docs/client.md", "exec"), notebook)
    for name in ("evaluation.json", "figures.csv", "images.csv", "report.html"):
        assert (folder / name).stat().st_size > 1000


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
