"""A batch that does not fit into the memory is refused with the batch size that would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.nn import functional as F

from app.contracts.jobs import JobKind, JobStatus
from app.errors import JobError
from tests.jobs.runs import run
from tests.jobs.trainings import Workshop, open_workshop, train
from worker import room as memory
from worker.jobs import fitting
from worker.recipes import RECIPES, Batch, Networks, Objective, Parameters, Recipe

_ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    torch.set_num_threads(1)
    return open_workshop(tmp_path_factory.mktemp("lab"))


def _three_mib_an_image(images: int) -> None:
    """3 MiB an image at once, and 10 MiB however many there are; 5 of other MiB come and go."""
    torch.empty(5 * MIB, dtype=torch.uint8)
    fixed = torch.empty(10 * MIB, dtype=torch.uint8)
    first = torch.empty((images, MIB), dtype=torch.uint8)
    second = torch.zeros((images, MIB), dtype=torch.int16)
    assert fixed[:1].numel() + first.view(-1)[:1].numel() + second.T.numel() > 0


def _refused(call: Callable[[], None]) -> JobError:
    with pytest.raises(JobError) as refusal:
        call()
    return refusal.value


def test_the_need_is_foreseen_from_two_small_steps() -> None:
    # 1.5 times (10 + 3 n) MiB: 465 for 100 images.
    fitting.foresee(_three_mib_an_image, 100, 465 * MIB)
    error = _refused(lambda: fitting.foresee(_three_mib_an_image, 100, 464 * MIB))
    assert "100 images needs about 465 MiB" in error.detail
    assert "464 MiB are free" in error.detail
    assert error.hint == "Use a batch size of at most 96."


@pytest.mark.parametrize(("free", "advice"), [(51, "at most 8."), (50, "smaller architecture")])
def test_the_advice_may_be_another_network(free: int, advice: str) -> None:
    error = _refused(lambda: fitting.foresee(_three_mib_an_image, 100, free * MIB))
    assert advice in error.hint


def _room_for(most: int, error: type[RuntimeError], text: str) -> fitting.Trial:
    def trial(images: int) -> None:
        if images > most:
            raise error(text)

    return trial


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory."),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.parametrize(
    ("most", "advice"),
    [(7, "not even 8"), (8, "at most 8."), (100, "at most 96."), (511, "at most 504.")],
)
def test_what_fits_is_found_by_trying(
    error: type[RuntimeError], text: str, most: int, advice: str
) -> None:
    refusal = fitting.refusal(_room_for(most, error, text), 512)
    assert advice in refusal.hint
    assert "512 images" in refusal.detail


def test_another_error_is_none_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        fitting.refusal(_room_for(8, RuntimeError, "shapes do not fit"), 512)


def test_a_job_that_will_not_fit_fails_before_its_first_step(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 100 * MIB)
    job = run(shop.lab, JobKind.TRAIN, shop.student())
    assert job.status == JobStatus.FAILED
    assert job.progress is None
    assert job.failure is not None
    advised = re.fullmatch(r"Use a batch size of at most (\d+).", job.failure["hint"])
    assert advised, job.failure
    fits = int(advised[1])
    assert fits % 8 == 0
    assert 8 <= fits < 64
    epoch = {"batch_size": fits, "epochs": 1}
    assert train(shop.lab, shop.student(**epoch)).card["epoch"] == 1
    again = run(shop.lab, JobKind.TRAIN, shop.student(**epoch | {"batch_size": fits + 8}))
    assert again.status == JobStatus.FAILED


def test_looking_ahead_changes_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    params = shop.student(ema_decay=0.5, epochs=1)
    looked = train(shop.lab, params)
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert train(shop.lab, params).sha256 == looked.sha256


def test_looking_ahead_draws_nothing(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where layers draw from torch's own generator, as dropout does."""

    clean = RECIPES["clean"]

    def dropping(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
        return clean(networks, replace(batch, x=F.dropout(batch.x, 0.1)), parameters)

    monkeypatch.setitem(cast(dict[str, Recipe], RECIPES), "clean", dropping)
    looked = train(shop.lab, shop.params(epochs=1))
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert train(shop.lab, shop.params(epochs=1)).sha256 == looked.sha256


def test_a_step_that_runs_out_of_memory_says_what_fits(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, which has room for 40 images, three of them at a time."""

    agkd_bml = RECIPES["agkd_bml"]

    def small(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
        if len(batch.x) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return agkd_bml(networks, batch, parameters)

    monkeypatch.setitem(cast(dict[str, Recipe], RECIPES), "agkd_bml", small)
    job = run(shop.lab, JobKind.TRAIN, shop.student())
    assert job.failure is not None
    assert "64 images" in job.failure["detail"]
    assert job.failure["hint"] == "Use a batch size of at most 40."


@pytest.mark.parametrize(
    ("files", "room"),
    [
        (("memory.max", "memory.current", "inactive_file"), 80),
        (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), 80),
        (("memory.high", "memory.current", "inactive_file"), None),
    ],
)
def test_control_groups_limit_what_is_available(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, str, str],
    room: int | None,
) -> None:
    """Limits of both versions, here of the group above all others; caches count as free."""
    limit, usage, cache = files
    for folder in (tmp_path, tmp_path / "memory"):
        folder.mkdir(exist_ok=True)
        (folder / limit).write_text(f"{300 * MIB}\n")
        (folder / usage).write_text(f"{250 * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{cache} {30 * MIB}\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    free, most = memory.available_memory(), memory.all_memory()
    assert free is not None
    assert (free == 80 * MIB) is (room == 80)
    assert (most == 300 * MIB) is (room == 80)


_LIMITED = """
import re, resource, sys
import torch
from app.contracts.jobs import JobKind
from app.contracts.params import TrainParams
from pathlib import Path
from tests.jobs.runs import open_lab, run
torch.set_num_threads(1)
lab = open_lab(Path(sys.argv[1]))
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
# Each of the three threads of a run reserves 72 MiB of addresses.
resource.setrlimit(resource.RLIMIT_AS, (size + 392 * 2**20,) * 2)
job = run(lab, JobKind.TRAIN, TrainParams.model_validate_json(sys.argv[2]))
print(job.status, job.failure)
"""


@pytest.mark.slow
def test_a_process_with_a_real_limit_ends_in_words(shop: Workshop) -> None:
    params = shop.student(batch_size=176)  # 2.3 MiB of tensors an image
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(shop.lab.settings.data_dir), params.model_dump_json()],
        cwd=_ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("failed")
    assert "Use a batch size of at most" in done.stdout, done.stdout
