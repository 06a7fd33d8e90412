"""The learning rate of each step, by schedule."""

from __future__ import annotations

import math

import pytest
import torch

from app.contracts.params import Schedule, TrainParams
from worker.jobs.schedules import schedule


def _rates(kind: Schedule, *, epochs: int) -> list[float]:
    """At two steps an epoch."""
    params = TrainParams(
        name="Model", dataset="0" * 32, schedule=kind, learning_rate=1.0, epochs=epochs,
        milestones=(2,),
    )  # fmt: skip
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=params.learning_rate)
    rates = schedule(optimizer, params, steps_per_epoch=2)
    seen = []
    for _ in range(2 * params.epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rates.step()
    return seen


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Schedule.MULTISTEP, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
        (Schedule.COSINE, [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]),
    ],
)
def test_the_learning_rate_follows_its_schedule(kind: Schedule, expected: list[float]) -> None:
    assert _rates(kind, epochs=4) == pytest.approx(expected)


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_almost_nothing() -> None:
    rates = _rates(Schedule.ONE_CYCLE, epochs=50)
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0)
    assert peak == 29  # 30 % of 100 steps
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4
