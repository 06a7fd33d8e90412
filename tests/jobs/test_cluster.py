"""A training on two machines, as the documentation gives it to Slurm; its tools are stand-ins."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.contracts.events import LogLevel
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams
from app.store import catalogue
from tests.jobs import srun
from tests.jobs.runs import open_lab, row_of, run
from tests.jobs.trainings import lines, models_of
from tests.plugins.forked import python_m

_ROOT = Path(__file__).resolve().parents[2]
_NET = {"name": "Net", "architecture": "wrn-10-1", "epochs": 8, "batch_size": 32}


def _script(port: int) -> str:
    """That of the documentation, with another port."""
    text = (_ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert ":29500" in script
    return str(script).replace(":29500", f":{port}")


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _tool(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch job on two nodes, with what it calls."""
    tools = tmp_path / "bin"
    tools.mkdir()
    _tool(tools / "scontrol", "echo localhost; echo localhost")
    _tool(tools / "srun", f'exec {sys.executable} {srun.__file__} "$@"')
    _tool(tools / "python", f'exec {sys.executable} "$@"')
    (tmp_path / "train.sh").write_text(_script(_free_port()))
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "SLURM_JOB_NODELIST": "localhost,localhost",
        "SRUN_PID": str(tmp_path / "srun.pid"),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "LAB_DATA_DIR": str(tmp_path / "data"),
        "LAB_LEASE_S": "5",
    }


@pytest.mark.slow
@pytest.mark.trains
def test_it_is_stopped_in_time_and_goes_on(cluster: dict[str, str], tmp_path: Path) -> None:
    lab = open_lab(tmp_path / "data")
    # Steps enough that it trains for long after it has first said how far it is.
    run(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=100))
    params = {**_NET, "dataset": catalogue.datasets(lab.database)[0].id, "nodes": 2}
    (tmp_path / "params.json").write_text(json.dumps(params))
    batch = {"args": ["bash", "train.sh"], "cwd": tmp_path, "text": True}
    with subprocess.Popen(
        **batch, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as stopped:  # type: ignore[call-overload]
        job = stopped.stdout.readline().split()[1]
        assert any(re.match(r"epoch \d of 8: [1-9]", line) for line in stopped.stdout)
        os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGTERM)
        _, said = stopped.communicate(timeout=120)
    assert stopped.returncode != 0
    assert f"Interrupted. Go on with: python -m worker resume {job}" in said
    assert "Machine 1: the processes on other machines are gone." in said
    assert row_of(lab, job).status == JobStatus.QUEUED

    done = subprocess.run(**batch, env={**cluster, "JOB": job}, capture_output=True, timeout=500)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    row = row_of(lab, job)
    assert row.status == JobStatus.SUCCEEDED
    told = lines(lab, job, LogLevel.INFO)
    assert "2 processes train together." in told
    assert any(line.startswith("Going on after") for line in told)
    _, last = models_of(lab, row)
    assert last.card["epoch"] == 8


def test_another_machine_takes_part_in_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps({**_NET, "dataset": "0" * 32, "nodes": 2}))
    environment = {"LAB_DATA_DIR": str(tmp_path / "data"), "LAB_NODE": "2"}
    done = python_m("worker", "train", str(path), environment=environment)
    assert (done.returncode, "no machine 2 in a training on 2" in done.stderr) == (2, True)
    done = python_m("worker", "resume", "0" * 32, environment=environment)
    assert (done.returncode, "trainings alone" in done.stderr) == (2, True)
    assert not (tmp_path / "data").exists(), "it opens no database"
