"""The training job: one loop for every recipe; keeps the best epoch by validation, and the last."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch

from app.contracts.events import LogLevel
from app.contracts.params import Schedule, TrainParams
from app.errors import JobError
from worker import registry, room
from worker.data import Dataset, TensorSplit
from worker.jobs import fitting, refusing, together
from worker.jobs.context import Cancelled, Interrupted, JobContext, Outcome
from worker.jobs.keeping import Origin, keep
from worker.jobs.named import Named
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import Saves, latest
from worker.jobs.stepping import Stepping, parameters_of
from worker.jobs.training_state import EpochSums, TrainingState, seeds
from worker.jobs.validation import validate
from worker.models import Classifier
from worker.recipes import RECIPES, Networks
from worker.team import ALONE, Team

_REPORT_EVERY_S = 2.0
_AGAIN_AFTER_S = 1.0


@dataclass(frozen=True)
class _Data:
    train: TensorSplit
    validation: TensorSplit


def run(context: JobContext, params: TrainParams) -> Outcome:
    """Train, and keep the best and the last epoch. Raises JobError, Cancelled, Interrupted, and
    AttemptLost where one of several processes was lost."""
    named = Named.of(context.lab.database, params)
    if params.team == 1:
        state, origin = train(context, params, named)
    else:
        together.train(context, params, named)
        state, origin = _left(context, params, named)
    outcome = keep(context, params, state, origin)
    scratch = context.lab.files.checkpoints(context.claim.job_id)
    return replace(outcome, scratch=[scratch])


def train(
    context: JobContext, params: TrainParams, named: Named, team: Team = ALONE
) -> tuple[TrainingState, Origin]:
    """Train to the last epoch; in a team, with the others."""
    _warn_of_the_unused(context, params)
    origin, teacher = _open(context, named)
    _warn_of_the_unknown(context, params, origin)
    data = _load(context, origin.dataset)
    model = fresh_model(params, origin.dataset, teacher)
    if params.recipe.compares_attention and teacher is not None:
        refusing.check_attention(params, model, teacher, origin.dataset.image_size)
    state = TrainingState.start(model, params, len(data.train.labels))
    _resume(context, params, state)
    if team.size > 1:
        refusing.check_team(params, state, team, data.train, data.validation)
        context.log(f"{team.size} processes train together.")
    seeing = team.seeing(state.model, synchronised=params.sync_batch_norm)
    networks = Networks(student=state.model, teacher=teacher, dtype=state.dtype, seeing=seeing)
    trial = fitting.trial_of(RECIPES[params.recipe], networks, parameters_of(params), data.train)
    if state.steps == 0 and team.leads:  # what went on from a checkpoint has fitted before
        refusing.check_last_batch(trial, params, len(data.train.labels))
        _foresee(trial, params, len(data.train.labels))
    _train_within_memory(context, params, state, data, networks, trial, team)
    return state, origin


def train_to_its_checkpoint(
    context: JobContext, params: TrainParams, named: Named, team: Team
) -> None:
    """The same; the first process then writes what the run has come to."""
    state, _ = train(context, params, named, team)
    if team.leads:
        saves = Saves(context, SavePace(math.inf))
        while not saves.now(state.save):
            context.check()
            time.sleep(_AGAIN_AFTER_S)


def _left(context: JobContext, params: TrainParams, named: Named) -> tuple[TrainingState, Origin]:
    """The end of a training that other processes took."""
    origin, teacher = _open(context, named)
    model = fresh_model(params, origin.dataset, teacher)
    state = TrainingState.start(model, params, len(origin.dataset.split("train")))
    files = context.lab.files
    found = state.restore(latest(files.here(files.checkpoints(context.claim.job_id))))
    assert found
    return state, origin


def _warn_of_the_unused(context: JobContext, params: TrainParams) -> None:
    """What was asked for, and has no part in this run."""
    if params.teacher is not None and not params.uses_teacher:
        context.log(
            f"{params.recipe_name} learns nothing from a teacher and does not start from its "
            "weights here: the teacher has no part in this model.",
            LogLevel.WARNING,
        )
    beyond = [str(epoch) for epoch in params.milestones if epoch >= params.epochs]
    if params.schedule is Schedule.MULTISTEP and beyond:
        context.log(
            f"The run ends after {params.epochs:,} epochs: the learning rate does not fall at the "
            f"milestones {', '.join(beyond)}.",
            LogLevel.WARNING,
        )


def _warn_of_the_unknown(context: JobContext, params: TrainParams, origin: Origin) -> None:
    """A teacher that has to be robust, and of which nobody knows how it was trained."""
    robust_teacher = params.recipe.record.robust_teacher
    if robust_teacher and origin.teacher is not None and origin.teacher.card["params"] is None:
        context.log(
            f"How “{origin.teacher.name}” was trained is not known; {params.recipe_name} learns "
            "from the predictions of a robust teacher. Measure it first.",
            LogLevel.WARNING,
        )


def _open(context: JobContext, named: Named) -> tuple[Origin, Classifier | None]:
    """The dataset, and the teacher where it has a part in the training."""
    files = context.lab.files
    dataset = registry.images_of(files, named.dataset)
    teacher = None if named.teacher is None else registry.load_model(files, named.teacher)
    return Origin(named.dataset, dataset, named.teacher), teacher


def _load(context: JobContext, dataset: Dataset) -> _Data:
    train, validation = dataset.split("train"), dataset.split("validation")
    context.log(f"{len(train):,} images to train on, {len(validation):,} held out for validation.")
    device = registry.device()
    return _Data(train.to(device), validation.to(device))


def fresh_model(params: TrainParams, dataset: Dataset, teacher: Classifier | None) -> Classifier:
    """What a training starts with, on the device: weights of its seed, or its teacher's.

    Raises JobError where there is no such network, or the teacher's weights do not fit.
    """
    torch.manual_seed(seeds(params.seed)["weights"])
    model = registry.new_model(
        params.architecture,
        num_classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        image_size=dataset.image_size,
    )
    if teacher is not None and params.start_from_teacher:
        try:
            model.load_state_dict(teacher.state_dict())
        except RuntimeError as error:
            raise JobError(
                "The teacher's weights do not fit the student.",
                hint="Use the teacher's architecture, or switch “Start from the teacher” off.",
            ) from error
    return model.to(registry.device()).to(memory_format=torch.channels_last)


def _resume(context: JobContext, params: TrainParams, state: TrainingState) -> None:
    """Go on from this job's last checkpoint, else from that of the job it continues."""
    files = context.lab.files
    found = state.restore(latest(files.here(files.checkpoints(context.claim.job_id))))
    if not found and params.continue_from is not None:
        found = state.restore(latest(files.here(files.checkpoints(params.continue_from))))
        if not found:
            raise JobError("The checkpoint to continue from is gone.", hint="Train from the start.")
    if found:
        context.log(f"Going on after {state.steps:,} steps.")


def _foresee(trial: fitting.Trial, params: TrainParams, images: int) -> None:
    """On the CPU, where memory ends without an error, refuse a batch that will not fit."""
    available = room.available_memory()
    if registry.device().type == "cpu" and available is not None:
        batch = min(params.batch_size, images)
        fitting.foresee(trial, batch, available // params.processes, params.team)


def _train_within_memory(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    data: _Data,
    networks: Networks,
    trial: fitting.Trial,
    team: Team,
) -> None:
    try:
        _train(context, params, state, data, networks, team)
    except RuntimeError as error:
        if not fitting.is_out_of_memory(error):
            raise
    else:
        return
    # Only now that the error is gone, so are the tensors of the step that raised it.
    state.optimizer.zero_grad(set_to_none=True)
    raise fitting.refusal(trial, params.batch_size, team.size)


def _train(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    data: _Data,
    networks: Networks,
    team: Team,
) -> None:
    stepping = Stepping(params, state, data.train, networks, warn=context.warn, team=team)
    pace = SavePace(context.lab.settings.checkpoint_s if team.leads else math.inf)
    saves = Saves(context, pace)
    with saves.until_sent():
        try:
            while state.validated < params.epochs:
                if state.sampler.epoch == state.validated:
                    _epoch(context, params, state, stepping, saves)
                validate(context, params, state, data.validation, team)
                saves.when_due(state.save)
        except (Cancelled, Interrupted):
            saves.now(state.save)
            raise


def _epoch(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    stepping: Stepping,
    saves: Saves,
) -> None:
    """The rest of the current epoch. Scalars stay on the device between two reports."""
    total = params.epochs * len(state.sampler)
    phase = f"epoch {state.sampler.epoch + 1} of {params.epochs}"
    perturbs = params.perturbs_weights(state.sampler.epoch)
    recent, before = EpochSums(), time.monotonic()
    context.progress(state.steps, total, phase)
    for indices in state.sampler:
        rate = state.learning_rate
        scalars, now = stepping.step(indices, perturbs=perturbs), time.monotonic()
        for sums in (recent, state.epoch_sums):
            sums.add(scalars, images=len(indices), seconds=now - before, learning_rate=rate)
        before = now
        if recent.seconds >= _REPORT_EVERY_S or state.sampler.position == len(state.sampler):
            context.metrics("step", state.steps, recent.figures())
            recent = EpochSums()
        context.progress(state.steps, total, phase)
        saves.when_due(state.save)
    # The device may have had steps to finish when the last one was reported.
    state.epoch_sums.seconds += time.monotonic() - before
