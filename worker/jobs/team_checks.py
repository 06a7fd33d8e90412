"""What several processes cannot train together, said before the first step."""

from __future__ import annotations

import copy

import torch

from app.contracts.params import TrainParams
from app.errors import JobError
from worker.data import TensorSplit
from worker.jobs.training_state import TrainingState
from worker.models import Classifier
from worker.team import Team


def check(
    params: TrainParams,
    state: TrainingState,
    team: Team,
    train: TensorSplit,
    validation: TensorSplit,
) -> None:
    """Raises JobError where the model would not be what one process makes of it, or where the
    processes do not go on from the same step."""
    images = len(train.labels)
    rest = images % params.batch_size
    if 0 < rest < team.size or len(validation.labels) < team.size:
        raise JobError(
            f"Batches of {params.batch_size:,} leave {rest:,} of {images:,} images, and "
            f"{len(validation.labels):,} are held out: too few for {team.size} processes.",
            hint="Use another batch size, or fewer processes.",
            field="batch_size",
        )
    if _draws(state.model, train):
        raise JobError(
            f"{params.architecture} draws random numbers in its layers, such as for dropout: with "
            "several processes they would be others.",
            hint="Train it with one process.",
            field="processes",
        )
    here = {"steps": state.steps, "images": images}
    if team.total(here) != {name: team.size * number for name, number in here.items()}:
        raise JobError(
            "The processes found different checkpoints, or different images.",
            hint="All machines of a training need the same data folder.",
        )


@torch.no_grad()
def _draws(model: Classifier, train: TensorSplit) -> bool:
    """Whether a pass in train mode takes numbers from torch's own generator."""
    tried, (x, _) = copy.deepcopy(model).train(), train.batch(torch.arange(2))
    read = torch.cuda.get_rng_state if x.is_cuda else torch.get_rng_state
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        before = read()
        tried.outputs(x)
        return not torch.equal(before, read())
