"""Several processes train what one process does: the same losses, weights and figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.contracts.params import Recipe
from tests.jobs import teams
from worker.data.augment import random_crop_flip
from worker.data.sampling import ClassIndex
from worker.team import ALONE, Team
from worker.team.share import Part

_ROOT = Path(__file__).resolve().parents[2]
_CLOSE = 1e-7  # accuracies are means in single precision
PLAN: list[dict[str, Any]] = [
    *({"recipe": recipe} for recipe in Recipe),
    {"recipe": "pgd_at", "direction": "confusing", "awp_gamma": 0.01},
    {"recipe": "agkd_bml", "awp_gamma": 0.01, "awp_warmup": 1},
]
APART = {"recipe": "pgd_at", "sync_batch_norm": False}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes find."""
    folder = tmp_path_factory.mktemp("team")
    command = [sys.executable, "-m", "tests.jobs.teams", json.dumps([*PLAN, APART]), str(folder)]
    environment = {**os.environ, "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    team = [
        subprocess.Popen(command, cwd=_ROOT, env={**environment, "RANK": str(rank)})
        for rank in range(2)
    ]
    try:
        assert [each.wait(timeout=600) for each in team] == [0, 0]
    finally:
        for each in team:
            each.kill()
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(teams.stepping, "to_float", teams.stepping.to_float)


def _far(found: list[dict[str, float]], expected: list[dict[str, float]]) -> float:
    """The largest difference of what steps reported."""
    assert [each.keys() for each in found] == [each.keys() for each in expected]
    pairs = zip(found, expected, strict=True)
    return max(abs(one[name] - other[name]) for one, other in pairs for name in one)


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("number", range(len(PLAN)))
def test_the_steps_are_those_of_one_process(
    together: dict[str, Any], tmp_path: Path, number: int
) -> None:
    alone = teams.advance(teams.params_of(**PLAN[number]), ALONE, tmp_path)
    found = together["trainings"][number]
    assert len(alone["told"]) == teams.STEPS
    assert _far(found["told"], alone["told"]) < _CLOSE
    assert found["sizes"] == pytest.approx(alone["sizes"], rel=1e-9, abs=1e-12)
    assert found["draws"] == alone["draws"]


@pytest.mark.slow
@pytest.mark.trains
def test_batch_norms_of_each_process_alone_are_another_training(
    together: dict[str, Any], tmp_path: Path
) -> None:
    alone = teams.advance(teams.params_of(**APART), ALONE, tmp_path)
    found = together["trainings"][-1]
    assert 1e-5 < _far(found["told"], alone["told"]) < 1
    assert found["draws"] == alone["draws"]


@pytest.mark.slow
@pytest.mark.trains
def test_a_training_goes_on_with_another_number_of_processes(
    together: dict[str, Any], tmp_path: Path
) -> None:
    alone = teams.advance(teams.params_of(recipe="agkd_bml"), ALONE, tmp_path, steps=6)
    assert _far(together["changing"], alone["told"]) < _CLOSE


@pytest.mark.slow
@pytest.mark.trains
def test_held_out_images_are_counted_alike(together: dict[str, Any]) -> None:
    expected = teams.counts(ALONE)
    assert together["counts"] == {name: list(count) for name, count in expected.items()}
    assert 0 < expected["robust"][0] < expected["clean"][0] < 50


@pytest.mark.parametrize("size", [2, 3, 5])
def test_shares_are_all_of_a_batch(size: int) -> None:
    rows = torch.arange(16)
    shares = [Team(rank, size).share(16) for rank in range(size)]
    parts = [share.of(rows) for share in shares]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    loss = torch.tensor(1.0)
    weights = [float(share.weighed(loss)) for share in shares]
    assert sum(weights) / size == pytest.approx(1)
    assert weights == pytest.approx([len(part) * size / 16 for part in parts])


def test_draws_are_those_for_the_whole_batch() -> None:
    images = torch.randint(256, (7, 3, 8, 8), dtype=torch.uint8)
    classes = torch.arange(7) % 3
    index = ClassIndex(torch.arange(30) % 3)

    def crop(share: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return random_crop_flip(share.of(images), generator=generator, share=share)

    def draw(share: Any) -> torch.Tensor:
        return index.draw(share.of(classes), torch.Generator().manual_seed(1), share)

    for made in (crop, draw):
        parts = [made(Team(rank, 3).share(7)) for rank in range(3)]
        assert torch.equal(torch.cat(parts), made(ALONE.share(7)))


def test_draws_for_several_parts_are_shared_part_by_part() -> None:
    """As those of x and x', which are attacked at once."""
    drawn = [Part(start, start + 2, 4, 2).drawn(4, torch.arange) for start in (0, 2)]
    assert [part.tolist() for part in drawn] == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_a_batch_is_shared_evenly_or_refused() -> None:
    with pytest.raises(ValidationError, match=r"6 processes cannot share 128 images evenly.*126"):
        teams.params_of(recipe="clean", batch_size=128, processes=3, nodes=2)
    assert teams.params_of(recipe="clean", batch_size=126, processes=3, nodes=2).team == 6


def test_the_number_of_processes_is_free_where_the_model_does_not_depend_on_it() -> None:
    one, two = (teams.params_of(recipe="clean", processes=count) for count in (1, 2))
    assert two.continues(one)
    apart = [each.model_copy(update={"sync_batch_norm": False}) for each in (one, two)]
    assert not apart[1].continues(apart[0])
    assert not apart[0].continues(one)
