"""The training job: a clean teacher, or an AGKD-BML student; best epoch by validation images."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.params import Recipe, TrainParams
from app.contracts.results import Accuracy, ModelCard, TrainResult
from app.errors import JobError
from app.store.files import remove
from app.store.tables import DatasetRow, ModelRow
from worker import registry
from worker.agkd_bml.classification import smoothed_cross_entropy
from worker.agkd_bml.examples import TrainingAttack
from worker.agkd_bml.objective import Losses, Weights
from worker.agkd_bml.step import agkd_bml_step
from worker.data import ClassIndex, Dataset, TensorSplit, random_crop_flip, to_float
from worker.jobs.context import Cancelled, Interrupted, JobContext, Outcome
from worker.jobs.training_state import CHECKPOINT, TrainingState, seeds
from worker.jobs.validation import STEPS, validate
from worker.models import Classifier, build

_REPORT_EVERY_S = 2.0

Step = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Images (N, 3, H, W) in [0, 1] and classes (N,) -> named scalars; `loss` carries the gradient."""


@dataclass(frozen=True)
class _Data:
    row: DatasetRow
    dataset: Dataset
    train: TensorSplit
    validation: TensorSplit


def run(context: JobContext, params: TrainParams) -> Outcome:
    """Train, keep the best epoch, register it. Raises JobError, Cancelled, Interrupted."""
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
        own.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy(files.checkpoints(params.continue_from) / CHECKPOINT, own / CHECKPOINT)
        except OSError as error:
            raise JobError(
                "The checkpoint to continue from is gone.", hint="Train from the start."
            ) from error
    if state.restore(own):
        context.log(f"Going on after {state.steps:,} steps.")


def _step_of(
    params: TrainParams, state: TrainingState, data: _Data, teacher: Classifier | None
) -> Step:
    model, generators = state.model, state.generators
    if params.recipe is Recipe.CLEAN:

        def clean(x: Tensor, y: Tensor) -> dict[str, Tensor]:
            logits = model.train()(x)
            loss = smoothed_cross_entropy(logits, y, smoothing=params.label_smoothing)
            return {"loss": loss, "train_clean": (logits.argmax(1) == y).float().mean()}

        return clean

    assert teacher is not None
    attack = TrainingAttack(eps=params.epsilon, step_size=params.step_size, steps=params.steps)
    weights = Weights(
        smoothing=params.label_smoothing,
        mart_beta=params.mart_beta if params.mart else None,
        agkd_weight=params.agkd_weight,
        bml_weight=params.bml_weight,
        margin=params.margin,
        mu=params.mu,
    )
    by_class = ClassIndex(data.train.labels)

    def draw_prime(classes: Tensor) -> Tensor:
        chosen = data.train.images[by_class.draw(classes, generators["classes"])]
        return to_float(_augment(params, chosen, generators["augmentation"]))

    def agkd_bml(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        result = agkd_bml_step(
            model,
            teacher,
            x,
            y,
            draw_prime,
            attack=attack,
            weights=weights,
            generator=generators["attack"],
        )
        return _named(result.losses) | {"train_robust": result.adversarial_correct / len(y)}

    return agkd_bml


def _named(losses: Losses) -> dict[str, Tensor]:
    terms = losses._asdict()
    return {"loss": terms.pop("total")} | terms


def _augment(params: TrainParams, images: Tensor, generator: torch.Generator) -> Tensor:
    return random_crop_flip(images, generator=generator) if params.augment else images


def _epoch(
    context: JobContext, params: TrainParams, state: TrainingState, data: _Data, step: Step
) -> None:
    """The rest of the current epoch. Scalars stay on the device between two reports."""
    total = params.epochs * len(state.sampler)
    phase = f"epoch {state.sampler.epoch + 1} of {params.epochs}"
    sums: dict[str, Tensor] = {}
    since, images, reported = time.monotonic(), 0, state.steps
    device = data.train.labels.device
    context.progress(state.steps, total, phase)
    for indices in state.sampler:
        where = indices.to(device, non_blocking=True)
        pixels, y = data.train.images[where], data.train.labels[where]
        x = to_float(_augment(params, pixels, state.generators["augmentation"]))
        scalars = step(x, y)
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(scalars["loss"])
        state.optimizer.step()
        state.schedule.step()
        for name, value in scalars.items():
            sums[name] = value.detach() + sums.get(name, 0)
        images += len(y)
        now = time.monotonic()
        if now - since >= _REPORT_EVERY_S or state.sampler.position == len(state.sampler):
            means = _means(sums, state.steps - reported)
            pace = images / (now - since)
            rate = state.optimizer.param_groups[0]["lr"]
            extra = {"images_per_s": pace, "learning_rate": rate}
            context.metrics("step", state.steps, means | extra)
            sums, since, images, reported = {}, now, 0, state.steps
        context.progress(state.steps, total, phase)


def _means(sums: dict[str, Tensor], steps: int) -> dict[str, float]:
    values = torch.stack(list(sums.values())).double() / steps
    if not bool(values.isfinite().all()):
        raise JobError(
            "The loss is not a finite number any more.",
            hint="Lower the learning rate, or the weights of the objective.",
        )
    return dict(zip(sums, values.tolist(), strict=True))


def _register(
    context: JobContext,
    params: TrainParams,
    state: TrainingState,
    data: _Data,
    teacher: ModelRow | None,
) -> Outcome:
    model_id = registry.id_within(context.claim.job_id, "best")
    best, dataset = state.best, data.dataset
    robust = best.correct.get("robust")
    chosen_by = f"PGD-{STEPS}" if robust else "clean"
    card = ModelCard(
        name=params.name,
        architecture=params.architecture,
        parameters=sum(p.numel() for p in state.model.parameters()),
        classes=dataset.class_names,
        image_size=dataset.image_size,
        dataset=registry.lineage_of_dataset(data.row),
        teacher=None if teacher is None else registry.lineage_of_model(teacher),
        params=params,
        selection=f"Best of {params.epochs} epochs by {chosen_by} accuracy on "
        f"{(robust or best.correct['clean'])[1]:,} held-out training images.",
        epoch=best.epoch,
        validation_clean=Accuracy.of(*best.correct["clean"]),
        validation_robust=Accuracy.of(*robust) if robust else None,
        environment=registry.environment(context.seconds),
    )
    facts: dict[str, object] = {
        "architecture": card.architecture,
        "classes": list(card.classes),
        "image_size": card.image_size,
    }
    sha256, size = registry.save_weights(context.lab.files, model_id, best.weights, facts)
    row = ModelRow(
        id=model_id,
        name=params.name,
        job_id=context.claim.job_id,
        created_at=time.time(),
        dataset_id=data.row.id,
        sha256=sha256,
        size_bytes=size,
        card=card.model_dump(mode="json"),
    )
    context.log(f"Registered the model of epoch {best.epoch}.")
    return Outcome(TrainResult(model=model_id, card=card), [row])
