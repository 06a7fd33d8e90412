"""An exported evaluation runs again: the same figures, and a refusal where they would be others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.services import exports, jobs
from app.services.lab import Lab
from app.settings import Settings
from tests.jobs.measured import Measured, change, open_measured, with_whole_cards
from tests.plugins.forked import python_m


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    """A lab of its own, since rows are changed."""
    return with_whole_cards(open_measured(tmp_path / "data"))


@pytest.fixture
def lab(measured: Measured) -> Iterator[Lab]:
    """The web's view of it; nobody listens where the broker should be."""
    folder = measured.lab.settings.data_dir
    opened = Lab.open(Settings(data_dir=folder, redis_url="redis://127.0.0.1:1/0"))
    yield opened
    opened.close()


def _worker(measured: Measured, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder = str(measured.lab.settings.data_dir)
    return python_m("worker", *arguments, environment={"LAB_DATA_DIR": folder})


def _run(measured: Measured, *arguments: str) -> str:
    """Run a job to its success; returns its id."""
    done = _worker(measured, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1]


def _figures(lab: Lab, job: str) -> Any:
    """All that was measured, without how long it took."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "environment")}
        return [timeless(entry) for entry in value] if isinstance(value, list) else value

    return timeless(json.loads(jobs.result_json(lab, job)))


@pytest.mark.slow
def test_the_same_figures_to_the_last_bit(measured: Measured, lab: Lab, tmp_path: Path) -> None:
    params = {
        "models": [measured.teacher, measured.student], "dataset": measured.dataset_id,
        "images": 12, "batch_size": 5, "seed": 3, "epsilon": "0.3/255", "queries": 20,
        "attack": {"steps": 3, "restarts": 2}, "further": ["square", "transfer", "noise"],
        "sources": [measured.teacher], "epsilons": [0, "0.1/255", "0.3/255"], "step_counts": [1, 3],
    }  # fmt: skip
    (tmp_path / "params.json").write_text(json.dumps(params))
    first = _run(measured, "evaluate", str(tmp_path / "params.json"))
    exported = exports.export(lab, first)
    (tmp_path / "export.json").write_text(exported.model_dump_json())

    by_file = _run(measured, "evaluate", str(tmp_path / "export.json"))
    by_service = exports.rerun(lab, exported).id
    assert _run(measured, "resume", by_service) == by_service

    figures = _figures(lab, first)
    assert 0 < figures["models"][0]["robust"]["correct"] < 12, "an evaluation that says something"
    assert figures["models"][0]["outcomes"]["minimal_epsilon"]
    assert len({first, by_file, by_service}) == 3
    assert _figures(lab, by_file) == figures
    assert _figures(lab, by_service) == figures

    change(measured, measured.student, sha256="f" * 64)
    refused = _worker(measured, "evaluate", str(tmp_path / "export.json"))
    assert refused.returncode == 2
    assert "The model “Student” has the checksum ffffffffffff…" in refused.stderr


def test_a_damaged_export_is_refused_in_words(measured: Measured, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"format": "agkd-bml-lab/evaluation", "version": 2}')
    done = _worker(measured, "evaluate", str(tmp_path / "export.json"))
    assert done.returncode == 2
    assert "version" in done.stderr
    assert "Traceback" not in done.stderr
