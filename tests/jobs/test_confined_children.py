"""Processes that read files from outside, at the moment when they open one to read it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import confinement
from app.contracts.params import ImportParams, Source
from tests.data.packing import pack, train_and_test
from tests.jobs.onnx_files import Linear, model_of
from worker import apart
from worker.jobs.reading_archive import DATASET, PARAMS

pytestmark = pytest.mark.skipif(
    bool(confinement.gaps()), reason="this system lacks Landlock or filters of system calls"
)
SPY = """
import os, socket, sys

def spy(event, arguments, seen=[]):
    if event != "open" or str(arguments[0]) != {given!r} or arguments[2] & os.O_PATH or seen:
        return
    seen.append(event)
    for what, attempt in (
        ("the token", lambda: open({token!r})),
        ("another upload", lambda: open({other!r})),
        ("the data folder", lambda: os.listdir({data!r})),
        ("a port", lambda: socket.create_connection(("127.0.0.1", {port}), timeout=5)),
    ):
        try:
            attempt()
        except PermissionError:
            os.write(2, f"refused: {{what}}\\n".encode())
        else:
            os.write(2, f"reached: {{what}}\\n".encode())

sys.addaudithook(spy)
"""


def archive(given: Path, made: Path) -> tuple[object, ...]:
    pack(given, train_and_test(cat=4, dog=4))
    params = ImportParams(name="Mini", source=Source.ARCHIVE, upload="0" * 32)
    (made / PARAMS).write_text(params.model_dump_json())
    return given, made, "mini.zip", 64, 100


def weights(given: Path, made: Path) -> tuple[object, ...]:
    torch.save({"w": torch.ones(2)}, given)
    return given, made / "weights", 512, 100, ""


def network(given: Path, made: Path) -> tuple[object, ...]:
    net = Linear(np.ones((3, 48), np.float32), np.zeros(3, np.float32))
    given.write_bytes(model_of(net).SerializeToString())
    return given, 32, "", "", 1024, 100


def plain_network(given: Path, made: Path) -> tuple[object, ...]:
    network(given, made)
    return given, made / "network", "logits", 1024, 100


@pytest.mark.parametrize(
    ("module", "prepare", "left"),
    [
        ("reading_archive", archive, DATASET),
        ("converting", weights, "weights"),
        ("reading_onnx", network, ""),
        ("plain_onnx", plain_network, "network"),
    ],
)
def test_it_reads_its_file_and_reaches_nothing_else(
    module: str,
    prepare: Any,
    left: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data, spies = tmp_path / "data", tmp_path / "spies"
    given, other, made = data / "uploads" / "one", data / "uploads" / "two", data / "made"
    for folder in (given.parent, made, spies):
        folder.mkdir(parents=True)
    token = data / "token"
    for path in (token, other):
        path.write_text("secret")
    arguments = prepare(given, made)
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {"given": given, "token": token, "other": other, "data": data}
        code = SPY.format(port=server.getsockname()[1], **{k: str(v) for k, v in names.items()})
        (spies / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(spies))
        said = apart.run(f"worker.jobs.{module}", *arguments, seconds=100, check=lambda: None)
    assert "detail" not in said
    assert (made / left).exists()
    spied = [line for line in capfd.readouterr().err.splitlines() if ": " in line]
    tried = ("the token", "another upload", "the data folder", "a port")
    assert [line for line in spied if line.startswith(("refused", "reached"))] == [
        f"refused: {what}" for what in tried
    ]
