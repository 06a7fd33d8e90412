"""How the threads of a process that uses the worker's code wait for each other."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("chosen", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_wait_asleep_unless_told_otherwise(chosen: dict[str, str], found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    process = subprocess.run(
        [sys.executable, "-c", "import worker.memory, torch"],
        env=environment | {"OMP_DISPLAY_ENV": "TRUE"} | chosen,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"OMP_WAIT_POLICY = '{found}'" in process.stderr
