"""Learning-rate schedules by name, counted in steps."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from app.contracts.params import Schedule, TrainParams

DECAY = 0.1
"""What `multistep` multiplies the learning rate with at each milestone."""


def schedule(optimizer: Optimizer, params: TrainParams, steps_per_epoch: int) -> LRScheduler:
    """The schedule of `params`, to be stepped once after every optimiser step."""
    steps = params.epochs * steps_per_epoch
    if params.schedule is Schedule.MULTISTEP:
        milestones = [epoch * steps_per_epoch for epoch in params.milestones]
        return MultiStepLR(optimizer, milestones, gamma=DECAY)
    if params.schedule is Schedule.COSINE:
        return CosineAnnealingLR(optimizer, T_max=steps)
    # The momentum stays what the user asked for.
    return OneCycleLR(optimizer, params.learning_rate, total_steps=steps, cycle_momentum=False)
