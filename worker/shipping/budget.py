"""How many epochs a given time allows, by the speed that is measured first."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import NamedTuple

import torch

from app.contracts.params import TrainParams
from worker import registry
from worker.data import Dataset
from worker.jobs import replaying
from worker.jobs.stepping import Stepping
from worker.jobs.training import fresh_model
from worker.jobs.training_state import TrainingState
from worker.jobs.validation import measure
from worker.recipes import Networks

_MEASURED_S, _LEAST_STEPS = 2.0, 3
_UNLIMITED = 1000
"""Epochs of a schedule that steps to be measured do not come to the end of."""


class Pace(NamedTuple):
    """What a training takes, in seconds."""

    step: float
    """Of a whole batch."""
    validation: float
    """The measure after an epoch."""
    steps: int
    """Of an epoch."""

    def seconds(self, epochs: int) -> float:
        return epochs * (self.steps * self.step + self.validation)


def paces_of(trainings: Mapping[str, TrainParams], dataset: Dataset) -> dict[str, Pace]:
    """The pace of each, measured one after the other; leaves the device's memory free."""
    found = {}
    for name, params in trainings.items():
        found[name] = _pace_of(params, dataset)
        gc.collect()  # a recording and the step that it is of hold each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return found


def _pace_of(params: TrainParams, dataset: Dataset) -> Pace:
    """Take real steps, and the measure of an epoch, on networks with fresh weights.

    Raises JobError where there is no such network, torch.OutOfMemoryError where it does not fit.
    """
    params = params.model_copy(update={"epochs": _UNLIMITED})
    device = registry.device()
    train, validation = (dataset.split(n).to(device) for n in ("train", "validation"))
    teacher = fresh_model(params, dataset, None).eval().requires_grad_(False)
    state = TrainingState.start(fresh_model(params, dataset, None), params, len(train.labels))
    networks = Networks(student=state.model, teacher=teacher, dtype=state.dtype)
    stepping = Stepping(params, state, train, networks, warn=print)
    indices = torch.arange(params.batch_size) % len(train.labels)

    def take(steps: int) -> float:
        """Seconds of so many steps, the last one finished."""
        begin = time.perf_counter()
        for _ in range(steps):
            scalars = stepping.step(indices, perturbs=params.perturbs_weights(_UNLIMITED))
        scalars["loss"].item()
        return time.perf_counter() - begin

    take(replaying.WARM_UPS + 1 if replaying.is_possible(device) else 1)
    steps = max(_LEAST_STEPS, int(_MEASURED_S / take(1)))
    step = take(steps) / steps
    measure(lambda: None, params, state.measured.eval(), validation)
    begin = time.perf_counter()
    measure(lambda: None, params, state.measured.eval(), validation)
    return Pace(step, time.perf_counter() - begin, len(state.sampler))


def epochs_within(
    seconds: float, paces: Mapping[str, Pace], wanted: Mapping[str, int]
) -> dict[str, int]:
    """Of each training's epochs the largest share, one for all, that the seconds allow.

    At least one epoch of each, whatever that takes, and at most what is wanted.
    """
    most = max(wanted.values())
    for tenths in range(10 * most, 0, -1):
        chosen = {name: max(1, epochs * tenths // (10 * most)) for name, epochs in wanted.items()}
        if sum(paces[name].seconds(epochs) for name, epochs in chosen.items()) <= seconds:
            return chosen
    return dict.fromkeys(wanted, 1)
