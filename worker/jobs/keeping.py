"""What a training run leaves: the model of its best epoch, and that of its last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from app.contracts.attacks import VALIDATION_ATTACK
from app.contracts.params import TrainParams
from app.contracts.results import Accuracy, ModelCard, TrainResult
from app.contracts.words import percent
from app.store.tables import DatasetRow, ModelRow
from worker import registry
from worker.data import Dataset
from worker.jobs.context import JobContext, Outcome
from worker.jobs.training_state import TrainingState, snapshot

Kept = Literal["best", "last"]
_MOST_OF_START = 0.1
"""Share of an average that may still be its first weights without a word."""


@dataclass(frozen=True)
class Origin:
    """Where a run's models come from, beside its parameters."""

    row: DatasetRow
    dataset: Dataset
    teacher: ModelRow | None


def keep(context: JobContext, params: TrainParams, state: TrainingState, origin: Origin) -> Outcome:
    """Write both models; one where the best epoch is the last. Their rows come with success."""
    wanted: tuple[Kept, ...] = ("best",) if state.best.epoch == params.epochs else ("best", "last")
    rows = [_register(context, params, state, origin, kept) for kept in wanted]
    names = " and ".join(f"epoch {row.card['epoch']} ({row.card['kept']})" for row in rows)
    context.log(f"Keeping {names}.")
    card = ModelCard.model_validate(rows[0].card)
    files = [context.lab.files.weights(row.id) for row in rows]
    return Outcome(TrainResult(model=rows[0].id, last=rows[-1].id, card=card), rows, files)


def _register(
    context: JobContext, params: TrainParams, state: TrainingState, origin: Origin, kept: Kept
) -> ModelRow:
    best, dataset = kept == "best", origin.dataset
    correct = state.best.correct if best else state.last_correct
    robust = correct.get("robust")
    card = ModelCard(
        name=params.name if best else f"{params.name[:73]} (last)",
        architecture=params.architecture,
        parameters=sum(p.numel() for p in state.model.parameters()),
        classes=dataset.class_names,
        image_size=dataset.image_size,
        dataset=registry.lineage_of_dataset(origin.row),
        teacher=None if origin.teacher is None else registry.lineage_of_model(origin.teacher),
        params=params,
        kept=kept,
        selection=_selection(params.epochs, correct, kept),
        epoch=state.best.epoch if best else params.epochs,
        validation_clean=Accuracy.of(*correct["clean"]),
        validation_robust=Accuracy.of(*robust) if robust else None,
        warnings=tuple(_warnings(params, state, origin, kept)),
        precision=state.precision,
        environment=registry.environment(state.seconds),
    )
    return registry.register(
        context.lab.files,
        card,
        state.best_weights if best else snapshot(state.measured),
        model_id=registry.id_within(context.claim.job_id, context.claim.fence, kept),
        job_id=context.claim.job_id,
        dataset_id=origin.row.id,
    )


def _warnings(
    params: TrainParams, state: TrainingState, origin: Origin, kept: Kept
) -> Iterator[str]:
    """What training has not done, although it ended well."""
    correct = state.best.correct if kept == "best" else state.last_correct
    chance = 1 / origin.dataset.num_classes
    if Accuracy.of(*correct["clean"]).low <= chance:
        yield (
            "On held-out images it is right no more often than by chance "
            f"({percent(chance)}): a robust accuracy says nothing of a model that has learned "
            "nothing."
        )
    epochs = state.best.epoch if kept == "best" else params.epochs
    start = params.ema_decay ** (epochs * len(state.sampler))
    if start > _MOST_OF_START:
        yield (
            f"{100 * start:.0f} % of the averaged weights are still those of the start: the run "
            f"is too short for an average that keeps {params.ema_decay:g} of itself each step."
        )


def _selection(epochs: int, correct: dict[str, tuple[int, int]], kept: Kept) -> str:
    if kept == "last":
        return f"The last of {epochs} epochs."
    by = VALIDATION_ATTACK if "robust" in correct else "clean"
    _, images = correct.get("robust", correct["clean"])
    return f"Best of {epochs} epochs by {by} accuracy on {images:,} held-out training images."
