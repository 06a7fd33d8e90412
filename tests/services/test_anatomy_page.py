"""The script behind docs/results/anatomy.md prints what the ablation's own table says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from app.contracts.results import Measure
from app.services import ablations
from app.services.lab import Lab
from tests.services.test_contrasts import FIRST, SECOND, measure, submitted

SCRIPT = Path(__file__).parents[2] / "docs" / "results" / "anatomy.py"


def rows_of(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.sqlite
def test_every_measured_row_is_printed(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    job = submitted(lab)
    measure(lab, job, FIRST, SECOND)
    spec = importlib.util.spec_from_file_location("anatomy", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(lab.settings.data_dir, [job])
    printed = capsys.readouterr().out
    table = ablations.get(lab, job).table
    shown = 100 * table.rows[1].figures[Measure.AUTOATTACK].mean
    *each, beside = [row for row in rows_of(printed) if row[0] == "AGKD-BML, 2 steps"]
    assert [row[1] for row in each] == ["0", "1"]
    assert all(row[5].startswith(f"{shown:.1f} (") for row in each)
    assert beside[1] == "AGKD-BML, 1 step"
    assert beside[4].startswith(f"{shown:.1f}; mean -10.0; -10.0 (-")
    assert beside[5].startswith("30.0; mean +20.0; +20.0 (+")
    assert not [row for row in rows_of(printed) if row[0] == "AGKD-BML, 7 steps"]
    assert "under PGD-20 71.02 %" in printed
    assert "with how many steps is not known" in printed
    with pytest.raises(SystemExit, match="no such job"):
        script.main(lab.settings.data_dir, ["f" * 32])
