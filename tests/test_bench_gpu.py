"""The benchmark for GPUs, as far as a machine without one can take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import bundle
from bench.gpu import __main__ as command
from bench.gpu import checks

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.trains
def test_checks_run_as_long_as_there_is_time() -> None:
    found: dict[str, dict[str, Any]] = {}
    checks.run(found.__setitem__, seconds=6.0)
    done = {name for name, values in found.items() if not values.get("skipped")}
    assert {"device", "import", "folded copy"} <= done
    assert not [name for name, values in found.items() if values.get("failed")], found
    assert found["attack autoattack"]["text"] == "skipped: no time left"


@pytest.mark.slow
def test_a_part_that_takes_too_long_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gpu.json"
    # Four seconds for the first, and more than enough for the second on the slowest machine.
    monkeypatch.setattr(command, "SHARES", {"evaluation": 1.0, "wrn-10-2": 60.0})
    options = ["--seconds", "244", "--json", str(file), "--only", "evaluation", "wrn-10-2"]
    status = command.main(options)
    printed = capsys.readouterr().out
    assert status == 0, printed
    parts = json.loads(file.read_text())["parts"]
    # Before it measures anything, an evaluation trains a model for a minute.
    assert parts["evaluation"]["state"] == "stopped"
    assert parts["wrn-10-2"]["state"] == "done", parts["wrn-10-2"]
    found = parts["wrn-10-2"]["found"]
    assert found["lab, float32"]["images_per_s"] > 0
    assert found["lab, float32"]["operations"] < found["plain"]["operations"]
    assert found["lab, float32"]["loss"] == pytest.approx(found["plain"]["loss"], rel=0.05)
    assert found["summary"]["gpu"] is False
    assert printed.splitlines()[-1].startswith("PASS gpu: nothing that was tried failed")


def test_the_bundle_takes_versions_and_checksums_of_the_lock() -> None:
    hashes = "    --hash=sha256:1 \\\n    --hash=sha256:2\n"
    lock = f"a-b==1.0 ; python_full_version < '4' \\\n{hashes}c==2\n"
    assert bundle.locked(lock, ["a-b"]) == "a-b==1.0 --hash=sha256:1 --hash=sha256:2\n"
    with pytest.raises(ValueError, match="no d"):
        bundle.locked(lock, ["c", "d"])
    whole = (ROOT / "requirements" / "dev.txt").read_text()
    entries = bundle.locked(whole, bundle.NAMES).splitlines()
    assert len(entries) == len(bundle.NAMES)
    assert all("--hash=sha256:" in entry for entry in entries)
