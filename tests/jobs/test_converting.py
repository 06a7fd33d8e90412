"""Files of weights from outside: what becomes safetensors, and what hostile files come to."""

from __future__ import annotations

import io
import os
import pickle
import signal
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from app.errors import JobError
from tests.plugins import hostile
from worker.jobs import weights_file
from worker.jobs.converting import Refused, convert
from worker.jobs.weights_file import opened

STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.ones(2)}
MB = 2**20


class RunsCode:
    """Its pickle creates a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "file.pt"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def refusal(source: Path, target: Path, most: int = 100 * MB) -> str:
    with pytest.raises(Refused) as raised:
        convert(source, target, most)
    assert raised.value.hint
    assert not target.exists()
    return raised.value.detail


@pytest.mark.parametrize(
    ("saved", "ignored"),
    [
        (STATE, 0),
        ({"state_dict": STATE, "epoch": 3}, 1),
        ({"model": STATE}, 0),
        ({"a": {"b": {"c": STATE}}}, 0),
        ({"net": {"state_dict": STATE}}, 0),
        ({"model_state_dict": STATE | {"epoch": 3, "best": 0.5}}, 2),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_in_a_checkpoint(
    saved: dict[str, Any], ignored: int, zipped: bool, source: Path, target: Path
) -> None:
    torch.save(saved, source, _use_new_zipfile_serialization=zipped)
    said = convert(source, target, 100 * MB)
    assert (said["tensors"], said["ignored"]) == (2, ignored)
    torch.testing.assert_close(load_file(target), STATE, rtol=0, atol=0)


def test_weights_that_share_their_storage_and_parameters_are_copied(
    source: Path, target: Path
) -> None:
    base = torch.arange(8.0)
    shared = {"a": base[:4], "b": base[2:], "c": torch.nn.Parameter(base.view(2, 4).T)}
    torch.save(shared, source)
    convert(source, target, 100 * MB)
    found = load_file(target)
    assert found["c"].tolist() == base.view(2, 4).T.tolist()
    assert found["b"].tolist() == base[2:].tolist()


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    source: Path, target: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    torch.save({"state_dict": STATE, "hook": RunsCode(marker)}, source)
    assert "mkdir" in refusal(source, target)
    source.write_bytes(pickle.dumps(RunsCode(marker), protocol=2))
    refusal(source, target)
    assert not marker.exists()


def test_a_type_that_numpy_would_believe_is_refused(source: Path, target: Path) -> None:
    scalar = np.float64(0).__reduce__()[0]
    best = hostile.Reduced(scalar, (hostile.KIND, b"1"))
    torch.save({"state_dict": STATE, "best": best}, source)
    assert "did not write" in refusal(source, target)


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        (torch.nn.Linear(2, 2), "more than weights"),
        ({"model": STATE, "net": {n: v + 1 for n, v in STATE.items()}}, "networks: model, net"),
        ([STATE], "no state dict"),
        ({"epoch": 3}, "no weights"),
        ({}, "no weights"),
        ({"a": {"b": {"c": {"d": {"e": STATE}}}}}, "no weights"),
        ({"optimizer": STATE}, "no weights"),
        ({3: torch.ones(1)}, "no plain name"),
        ({"a\nb": torch.ones(1)}, "no plain name"),
        ({"x" * 301: torch.ones(1)}, "no plain name"),
        ({"a": torch.ones(2, 2).to_sparse()}, "no plain tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "no plain tensor"),
        ({"a": torch.ones(2, dtype=torch.bool)}, "no plain tensor"),
        ({"a": torch.ones(2, device="meta")}, "no plain tensor"),
        # A trillion numbers that all lie in one.
        ({"a": torch.ones(1).expand(10**12)}, "larger than their file"),
    ],
)
def test_what_is_no_state_dict_is_refused(
    saved: object, reason: str, source: Path, target: Path
) -> None:
    torch.save(saved, source)
    assert reason in refusal(source, target)


def test_a_checkpoint_that_contains_itself_ends(source: Path, target: Path) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    torch.save(endless, source)
    assert "no weights" in refusal(source, target)


@pytest.mark.parametrize("length", [2, 100, 400])
def test_a_file_that_ends_early_is_damaged(length: int, source: Path, target: Path) -> None:
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    source.write_bytes(buffer.getvalue()[:length])
    assert "damaged" in refusal(source, target)


# The process itself, with its limits.


def read(path: Path, tmp_path: Path, check: Callable[[], None] = lambda: None) -> dict[str, Tensor]:
    with opened(path, network="", scratch=tmp_path / "scratch", check=check) as file:
        like = {name: torch.tensor(0 if name == "n" else 0.0) for name in file.shapes}
        return file.read({name: name for name in file.shapes}, like)


def failure(path: Path, tmp_path: Path) -> str:
    with pytest.raises(JobError) as raised:
        read(path, tmp_path)
    assert not (tmp_path / "scratch").exists()
    return raised.value.detail


@pytest.mark.slow
def test_a_conversion_leaves_the_weights_and_no_file(source: Path, tmp_path: Path) -> None:
    half = {"w": torch.tensor([1.0, 2.5], dtype=torch.float16), "n": torch.tensor(3)}
    torch.save({"state_dict": half}, source)
    found = read(source, tmp_path)
    assert found["w"].dtype == torch.float32
    assert (found["w"].tolist(), int(found["n"])) == ([1.0, 2.5], 3)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_a_file_that_unpacks_to_more_than_is_allowed_ends_the_process_alone(
    source: Path, tmp_path: Path
) -> None:
    torch.save({"w": torch.zeros(1000)}, source)
    bomb, count = tmp_path / "bomb.pt", 400 * MB
    with (
        zipfile.ZipFile(source) as honest,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as inflated,
    ):
        for name in honest.namelist():
            with inflated.open(name, "w", force_zip64=True) as stream:
                if name.endswith("data/0"):
                    for _ in range(4 * count // MB):
                        stream.write(bytes(MB))
                else:
                    # The number of elements, as the pickle writes 1000: two bytes; now four.
                    more = honest.read(name).replace(b"M\xe8\x03", b"J" + struct.pack("<I", count))
                    stream.write(more)
    assert bomb.stat().st_size < 20 * MB
    assert "memory" in failure(bomb, tmp_path)


@pytest.mark.slow
def test_a_conversion_that_takes_too_long_is_ended(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_file, "CONVERSION_S", 0)
    torch.save(STATE, source)
    assert "took more than" in failure(source, tmp_path)


@pytest.mark.slow
def test_a_conversion_that_the_system_kills_says_so(source: Path, tmp_path: Path) -> None:
    def kill() -> None:
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                if b"worker.jobs.converting" in Path("/proc", child, "cmdline").read_bytes():
                    os.kill(int(child), signal.SIGKILL)

    torch.save(STATE, source)
    with pytest.raises(JobError, match="memory runs out"):
        read(source, tmp_path, check=kill)


@pytest.mark.slow
def test_a_cancelled_job_ends_its_conversion(source: Path, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def check() -> None:
        raise Cancelled

    torch.save(STATE, source)
    with pytest.raises(Cancelled):
        read(source, tmp_path, check)


# safetensors


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!doctype html><title>404</title>", "a web page"),
        (struct.pack("<Q", 2**63) + b"{}", "neither"),
        (header(b"{not json}"), "safetensors file: damaged, cut short, or not written whole."),
        (
            header(
                b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
            ),
            "no valid safetensors",
        ),
        (
            header(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}') + bytes(4),
            "no valid safetensors",
        ),
        (header(b"{" + b" " * (11 * MB) + b"}"), "header"),
    ],
)
def test_hostile_files_are_refused_by_their_content(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    assert reason in failure(path, tmp_path)


def test_safetensors_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "named.pt"  # the content counts, not the name
    path.write_bytes(save(STATE))
    torch.testing.assert_close(read(path, tmp_path), STATE, rtol=0, atol=0)
    path.write_bytes(save({"w": torch.ones(2, dtype=torch.bool)}))
    assert "of type" in failure(path, tmp_path)
