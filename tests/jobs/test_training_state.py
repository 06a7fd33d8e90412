"""What a run changes as it goes: the averaged weights, and when a checkpoint is due."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from app.contracts.params import TrainParams
from worker.jobs.save_pace import SAVING, SavePace
from worker.jobs.training_state import TrainingState
from worker.models import Classifier, build


def _state(**changes: Any) -> TrainingState:
    torch.manual_seed(0)
    model = build("wrn-10-1", num_classes=3, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    params = TrainParams.model_validate({"name": "M", "dataset": "0" * 32, **changes})
    return TrainingState.start(model, params, images=64)


def _advance(state: TrainingState) -> None:
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(state.steps))
    state.optimizer.zero_grad()
    torch.autograd.backward(state.model.train()(x).square().mean())
    state.advance()


def _values(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.double() for name, value in model.state_dict().items()}


def test_the_average_is_that_of_the_weights_after_each_step() -> None:
    state = _state(ema_decay=0.75)
    expected = _values(state.model)
    for _ in range(3):
        _advance(state)
        now = _values(state.model)
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
    measured = _values(state.measured)
    for name, value in expected.items():
        if name.endswith("num_batches_tracked"):
            assert measured[name] == 3
        else:
            torch.testing.assert_close(measured[name], value, rtol=1e-5, atol=1e-7)
    start, trained = measured["head.weight"], _values(state.model)["head.weight"]
    assert not torch.allclose(start, trained, rtol=1e-3)


def test_without_an_average_the_weights_themselves_are_measured() -> None:
    state = _state()
    assert state.averaged is None
    assert state.measured is state.model


def test_the_time_of_earlier_attempts_counts(tmp_path: Path) -> None:
    first, second, third = _state(), _state(), _state()
    first.earlier_seconds = 1000.0
    first.save(tmp_path)
    assert second.restore(tmp_path)
    assert 1000 < second.earlier_seconds <= first.seconds
    second.save(tmp_path)
    assert third.restore(tmp_path)
    assert second.earlier_seconds < third.earlier_seconds <= second.seconds


def test_layers_that_draw_go_on_where_they_were(tmp_path: Path) -> None:
    """Dropout draws from torch's global generator."""
    state = _state()
    torch.rand(7)
    state.save(tmp_path)
    expected = F.dropout(torch.ones(100))
    assert state.restore(tmp_path)
    assert torch.equal(F.dropout(torch.ones(100)), expected)
    torch.manual_seed(1)
    assert _state().restore(tmp_path)
    assert torch.equal(F.dropout(torch.ones(100)), expected)


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_checkpoints_come_every_so_often() -> None:
    clock = _Clock()
    pace = SavePace(60, clock)
    saved = []
    for clock.now in range(300):
        if pace.is_due():
            with pace.saving():
                saved.append(clock.now)
    assert saved == [60, 120, 180, 240]


@given(
    every_s=st.floats(0.001, 1000),
    step_s=st.floats(0.001, 100),
    saves_s=st.lists(st.floats(0, 1000), min_size=2, max_size=50),
)
def test_saves_take_at_most_their_share_of_the_time(
    every_s: float, step_s: float, saves_s: list[float]
) -> None:
    """However slow the disk is, and however that changes: of the time before each save."""
    clock = _Clock()
    pace = SavePace(every_s, clock)
    saving = 0.0
    for save_s in saves_s:
        # Time passes step by step until a checkpoint is due; in one leap, to keep this short.
        while not pace.is_due():
            clock.now += max(step_s, 1e-6 + (saving + every_s) / 10)
        assert saving <= SAVING * clock.now * (1 + 1e-9)
        with pace.saving():
            clock.now += save_s
        saving += save_s


def test_a_due_checkpoint_stays_due() -> None:
    clock = _Clock()
    pace = SavePace(60, clock)
    with pace.saving():
        clock.now += 2
    waited = [s for s in range(200) if _due_after(pace, clock, s)]
    assert waited == list(range(100, 200))  # 2 s are 2 % of 100 s


def _due_after(pace: SavePace, clock: _Clock, seconds: int) -> bool:
    clock.now = 2 + seconds
    return pace.is_due()


@pytest.mark.parametrize("every_s", [0.001, 1e6])
def test_the_first_checkpoint_waits_its_time(every_s: float) -> None:
    clock = _Clock()
    pace = SavePace(every_s, clock)
    assert not pace.is_due()
    clock.now = every_s
    assert pace.is_due()
