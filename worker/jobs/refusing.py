"""What cannot be trained as it is asked for, said before the first step."""

from __future__ import annotations

import copy
import math

import torch

from app.contracts.params import TrainParams
from app.errors import JobError
from worker import registry
from worker.data import TensorSplit
from worker.jobs.fitting import Trial
from worker.jobs.training_state import TrainingState
from worker.models import Classifier
from worker.team import Team


@torch.no_grad()
def check_attention(params: TrainParams, model: Classifier, teacher: Classifier, side: int) -> None:
    """Raise JobError where attention maps cannot be compared, or have nothing to compare."""
    x = torch.zeros(1, 3, side, side, device=registry.device())
    # (1, C, h, w) each
    theirs, ours = (of.eval().outputs(x).features.shape for of in (teacher, model))
    if theirs[2:] != ours[2:]:
        raise JobError(
            f"The teacher's attention maps are {_size(theirs)}, the student's {_size(ours)}.",
            hint="Choose an architecture of the teacher's family.",
        )
    if ours[2:].numel() == 1:
        raise JobError(
            f"For images of {side} pixels the last feature map of {params.architecture} has one "
            "position: there is no attention to learn.",
            hint="Choose an architecture with a larger map, or a recipe without AGKD.",
        )


def _size(shape: torch.Size) -> str:
    return f"{shape[2]} × {shape[3]}"


def check_last_batch(trial: Trial, params: TrainParams, images: int) -> None:
    """Refuse batches of one image, where a batch norm sees one number of it."""
    batch_size = params.batch_size
    apart = 1 if params.sync_batch_norm else params.team

    def is_alone(size: int) -> bool:
        return 1 in (size // apart, images % size // apart)

    if not is_alone(batch_size):
        return
    try:
        trial(1)
    except ValueError as error:  # torch's, of a batch norm
        sizes = range(math.lcm(8, params.team), 8 * batch_size, params.team)
        others = (size for size in sizes if not is_alone(size))
        fits = min(others, key=lambda size: abs(size - batch_size))
        raise JobError(
            f"Of {images:,} images, batches of {batch_size:,} leave one alone, and the "
            "architecture's batch norms need more.",
            hint=f"Use another batch size, such as {fits:,}.",
        ) from error


def check_team(
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
