"""The training job: one loop for every recipe; keeps the best epoch by validation, and the last."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.contracts.params import Recipe, TrainParams
from app.contracts.results import Accuracy, ModelCard, TrainResult
from app.errors import JobError
from app.store.files import remove
from app.store.tables import DatasetRow, ModelRow
from worker import registry
from worker.data import ClassIndex, Dataset, TensorSplit, random_crop_flip, to_float
from worker.jobs.context import Cancelled, Interrupted, JobContext, Outcome
from worker.jobs.training_state import CHECKPOINT, EpochSums, TrainingState, seeds, snapshot
from worker.jobs.validation import STEPS, validate
from worker.models import Classifier, build
from worker.recipes import RECIPES, Batch, Knobs, Networks, Step, TrainingAttack, Weights

_REPORT_EVERY_S = 2.0

StepOf = Callable[[Tensor, Tensor], Step]
"""Images (N, 3, H, W) in [0, 1] and classes (N,) -> the loss of a step."""


@dataclass(frozen=True)
class _Data:
    row: DatasetRow
    dataset: Dataset
    train: TensorSplit
    validation: TensorSplit


def run(context: JobContext, params: TrainParams) -> Outcome:
    """Train, register the best and the last epoch. Raises JobError, Cancelled, Interrupted."""
    data = _load(context, params)
    teacher_row, teacher = _load_teacher(context, params)
    model = _new_model(params, data.dataset, teacher)
    state = TrainingState.start(model, params, len(data.train.labels))
    folder = context.lab.files.checkpoints(context.claim.job_id)
    _resume(context, params, state)
    step = _step_of(params, state, data, teacher)
    try:
        while state.validated < params.epochs:
            if state.sampler.epoch == state.validated:
                _epoch(context, params, state, data, step)
            validate(context, params, state, data.validation)
            state.validated += 1
            state.epoch_sums = EpochSums()
            state.save(folder)
    except (Cancelled, Interrupted):
        state.save(folder)
        raise
    outcome = _register(context, params, state, data, teacher_row)
    remove(folder)
    return outcome


def _load(context: JobContext, params: TrainParams) -> _Data:
    row, dataset = registry.dataset(context.lab.database, context.lab.files, params.dataset)
    validation = dataset.split("validation")
    count = len(validation)
    context.log(
        f"{len(dataset.split('train')):,} images to train on, {count:,} held out for validation."
    )
    device = registry.device()
    return _Data(row, dataset, dataset.split("train").to(device), validation.to(device))


def _load_teacher(
    context: JobContext, params: TrainParams
) -> tuple[ModelRow | None, Classifier | None]:
    if params.teacher is None:
        return None, None
    row = registry.model_row(context.lab.database, params.teacher)
    return row, registry.load_model(context.lab.files, row)


def _new_model(params: TrainParams, dataset: Dataset, teacher: Classifier | None) -> Classifier:
    torch.manual_seed(seeds(params.seed)["weights"])
    model = build(
        params.architecture,
        num_classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
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
    files, own = context.lab.files, context.lab.files.checkpoints(context.claim.job_id)
    if not (own / CHECKPOINT).exists() and params.continue_from is not None:
        try:
            shutil.copytree(files.checkpoints(params.continue_from), own, dirs_exist_ok=True)
        except OSError as error:
            raise JobError(
                "The checkpoint to continue from is gone.", hint="Train from the start."
            ) from error
    if state.restore(own):
        context.log(f"Going on after {state.steps:,} steps.")


def _step_of(
    params: TrainParams, state: TrainingState, data: _Data, teacher: Classifier | None
) -> StepOf:
    """The recipe, bound to its networks, its knobs and its source of images."""
    recipe, generators = RECIPES[params.recipe], state.generators
    networks = Networks(student=state.model, teacher=teacher, dtype=state.dtype)
    knobs = _knobs(params)
    by_class = ClassIndex(data.train.labels)

    def draw_prime(classes: Tensor) -> Tensor:
        chosen = data.train.images[by_class.draw(classes, generators["classes"])]
        return to_float(_augment(params, chosen, generators["augmentation"]))

    def step(x: Tensor, y: Tensor) -> Step:
        batch = Batch(x=x, y=y, draw_prime=draw_prime, generator=generators["attack"])
        return recipe(networks, batch, knobs)

    return step


def _knobs(params: TrainParams) -> Knobs:
    has_mart = params.mart or params.recipe is Recipe.MART
    return Knobs(
        attack=TrainingAttack(eps=params.epsilon, step_size=params.step_size, steps=params.steps),
        weights=Weights(
            smoothing=params.label_smoothing,
            mart_beta=params.mart_beta if has_mart else None,
            agkd_weight=params.agkd_weight,
            bml_weight=params.bml_weight,
            margin=params.margin,
            mu=params.mu,
        ),
        trades_beta=params.trades_beta,
    )


def _augment(params: TrainParams, images: Tensor, generator: torch.Generator) -> Tensor:
    return random_crop_flip(images, generator=generator) if params.augment else images


def _epoch(
    context: JobContext, params: TrainParams, state: TrainingState, data: _Data, step: StepOf
) -> None:
    """The rest of the current epoch. Scalars stay on the device between two reports."""
    total = params.epochs * len(state.sampler)
    phase = f"epoch {state.sampler.epoch + 1} of {params.epochs}"
    folder = context.lab.files.checkpoints(context.claim.job_id)
    device = data.train.labels.device
    recent = EpochSums()
    context.progress(state.steps, total, phase)
    for indices in state.sampler:
        begin = time.monotonic()
        where = indices.to(device, non_blocking=True)
        pixels, y = data.train.images[where], data.train.labels[where]
        x = to_float(_augment(params, pixels, state.generators["augmentation"]))
        taken = step(x, y)
        rate = state.optimizer.param_groups[0]["lr"]
        state.advance(taken.loss)
        scalars, seconds = _scalars(taken, y), time.monotonic() - begin
        for sums in (recent, state.epoch_sums):
            sums.add(scalars, len(y), seconds)
        if recent.seconds >= _REPORT_EVERY_S or state.sampler.position == len(state.sampler):
            pace = recent.images / recent.seconds
            extra = {"images_per_s": pace, "learning_rate": rate}
            context.metrics("step", state.steps, recent.means() | extra)
            recent = EpochSums()
        context.progress(state.steps, total, phase)
        state.save_when_due(folder, context.lab.settings.checkpoint_s)


def _scalars(step: Step, y: Tensor) -> dict[str, Tensor]:
    """What is averaged over steps: the loss, its terms, and accuracies in train mode."""
    seen = {"train_clean": step.clean, "train_robust": step.adversarial}
    shares = {
        name: (logits.detach().argmax(dim=1) == y).float().mean()
        for name, logits in seen.items()
        if logits is not None
    }
    return {"loss": step.loss} | step.terms | shares


def _register(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    data: _Data,
    teacher: ModelRow | None,
) -> Outcome:
    """The models of the best and of the last epoch; one model where they are the same."""
    best = _kept(context, params, state, data, teacher, kept="best")
    rows = [best]
    if state.best.epoch != params.epochs:
        rows.append(_kept(context, params, state, data, teacher, kept="last"))
    names = " and ".join(f"epoch {row.card['epoch']} ({row.card['kept']})" for row in rows)
    context.log(f"Registered {names}.")
    card = ModelCard.model_validate(best.card)
    return Outcome(TrainResult(model=best.id, last=rows[-1].id, card=card), rows)


def _kept(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    data: _Data,
    teacher: ModelRow | None,
    *,
    kept: Literal["best", "last"],
) -> ModelRow:
    model_id = registry.id_within(context.claim.job_id, kept)
    is_best = kept == "best"
    weights = state.best_weights if is_best else snapshot(state.measured)
    correct = state.best.correct if is_best else state.last_correct
    dataset = data.dataset
    robust = correct.get("robust")
    card = ModelCard(
        name=params.name if is_best else f"{params.name[:73]} (last)",
        architecture=params.architecture,
        parameters=sum(p.numel() for p in state.model.parameters()),
        classes=dataset.class_names,
        image_size=dataset.image_size,
        dataset=registry.lineage_of_dataset(data.row),
        teacher=None if teacher is None else registry.lineage_of_model(teacher),
        params=params,
        kept=kept,
        selection=_selection(params, correct, kept),
        epoch=state.best.epoch if is_best else params.epochs,
        validation_clean=Accuracy.of(*correct["clean"]),
        validation_robust=Accuracy.of(*robust) if robust else None,
        precision=state.precision,
        environment=registry.environment(context.seconds),
    )
    return registry.register(
        context.lab.files,
        card,
        weights,
        model_id=model_id,
        job_id=context.claim.job_id,
        dataset_id=data.row.id,
    )


def _selection(params: TrainParams, correct: dict[str, tuple[int, int]], kept: str) -> str:
    if kept == "last":
        return f"The last of {params.epochs} epochs."
    by = f"PGD-{STEPS}" if "robust" in correct else "clean"
    images = correct.get("robust", correct["clean"])[1]
    return (
        f"Best of {params.epochs} epochs by {by} accuracy on {images:,} held-out training images."
    )
