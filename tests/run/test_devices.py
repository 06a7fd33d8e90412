"""GPUs without torch: what the variable and the driver's tool say, and who trains on which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import devices
from app.run.supervisor import workers
from app.run.template import Fork, Template


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        ("", ()),
        ("0", ("0",)),
        ("0, GPU-8932f937", ("0", "GPU-8932f937")),
        ("2,-1,0", ("2",)),
        ("-1", ()),
        ("1,,0", ("1",)),
    ],
)
def test_the_variable_has_the_word(variable: str, found: tuple[str, ...]) -> None:
    assert devices.gpus({"CUDA_VISIBLE_DEVICES": variable}) == found


def _tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            'case "$1" in *=uuid,*) echo "GPU-a, H100, 81559"; echo "GPU-b, H100, [N/A]";; esac',
            ("GPU-a", "GPU-b"),
        ),
        ("echo No devices were found", ()),
        ("echo GPU-a, H100, 81559; exit 9", ()),
    ],
)
def test_else_the_tool_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: tuple[str, ...]
) -> None:
    _tool(tmp_path, script, monkeypatch)
    assert devices.gpus({}) == found


def test_no_tool_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.gpus({}) == ()


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        (None, [("H100", 81559), ("A2", None)]),
        ("1", [("A2", None)]),
        ("GPU-a", [("H100", 81559)]),
        ("GPU", [("GPU", None)]),
        ("MIG-7", [("GPU", None)]),
        ("-1", []),
    ],
)
def test_the_tool_says_what_they_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    found: list[tuple[str, int | None]],
) -> None:
    _tool(tmp_path, 'echo "GPU-a, H100, 81559"; echo "GPU-b, A2, [N/A]"', monkeypatch)
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert [(gpu.name, gpu.memory_mb) for gpu in devices.described(environment)] == found


def test_without_the_tool_a_variable_alone_describes_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.described({"CUDA_VISIBLE_DEVICES": "0"}) == ()


class _Asked(Template):
    """Takes note of who sees which GPUs, and starts nobody."""

    def __init__(self) -> None:
        super().__init__({})
        self.seen: dict[str, str | None] = {}

    def ready(self) -> bool:
        return True

    def fork(self, name: str, command: Sequence[str], variables: Mapping[str, str]) -> Fork:
        self.seen[name] = variables.get("CUDA_VISIBLE_DEVICES")
        raise OSError


def _seen(variable: str, train_gpus: int = 1) -> dict[str, str | None]:
    asked = _Asked()
    for worker in workers({"CUDA_VISIBLE_DEVICES": variable}, asked, train_gpus):
        assert not worker.tend()
    return asked.seen


@pytest.mark.parametrize("variable", ["", "0"])
def test_one_worker_a_queue_with_one_gpu_or_none(variable: str) -> None:
    assert _seen(variable) == {"train": None, "evaluate": None, "live": None}


def test_a_worker_trains_on_each_of_several() -> None:
    assert _seen("0,1,3") == {
        "train-1": "0", "train-2": "1", "train-3": "3", "evaluate": None, "live": None
    }  # fmt: skip


def test_a_worker_trains_on_several_where_that_is_asked_for() -> None:
    assert _seen("0,1,3", 2) == {
        "train-1": "0,1", "train-2": "3", "evaluate": None, "live": None
    }  # fmt: skip
    assert _seen("0,1,3", 3) == {"train": None, "evaluate": None, "live": None}
