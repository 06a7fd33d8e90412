"""What only the store can check of a training's parameters, and of those of an ablation's."""

from __future__ import annotations

from app.contracts.access import Need
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, Params, TrainParams, family
from app.contracts.recipes import TEACHERS
from app.contracts.stored import understood
from app.errors import InvalidInput
from app.services import fitting
from app.services.lab import Lab
from app.store import catalogue, job_queries
from app.store.tables import DatasetRow, ModelRow


def check_training(lab: Lab, params: Params) -> None:
    assert isinstance(params, TrainParams)
    dataset = fitting.dataset(lab, params.dataset)
    _check_batch(dataset, params)
    if params.teacher is not None:
        _check_teacher(fitting.model(lab, params.teacher, "teacher"), dataset, params)
    if params.continue_from is not None:
        _check_continue(lab, params)


def _check_batch(dataset: DatasetRow, params: TrainParams) -> None:
    """Whether it fits into the memory, only a worker can know."""
    images = dataset.report["train_images"]
    if not images:
        raise InvalidInput(
            f"“{dataset.name}” has no training images: it is for evaluation.",
            hint="Choose another dataset.",
            field="dataset",
        )
    if params.batch_size > images:
        raise InvalidInput(
            f"“{dataset.name}” has {images:,} training images, fewer than one batch.",
            hint=f"Use a batch size of at most {images:,}.",
            field="batch_size",
        )


def _check_teacher(teacher: ModelRow, dataset: DatasetRow, params: TrainParams) -> None:
    other = f"the dataset “{dataset.name}”"
    fitting.gives(teacher, {Need.FEATURES, Need.GRADIENTS}, "teacher", fitting.ITS_WEIGHTS)
    fitting.same_classes(teacher, dataset.report["classes"], "teacher", other)
    fitting.same_size(teacher, dataset.report["image_size"], "teacher", other)
    theirs, ours = teacher.card["architecture"], params.architecture
    recipe = params.recipe.record
    if recipe.robust_teacher and teacher.recipe in TEACHERS:
        raise InvalidInput(
            f"“{teacher.name}” was trained on clean images: {recipe.title} learns from the "
            "predictions of a robust teacher.",
            hint="Choose one that was trained on adversarial images, by PGD-AT for example.",
            field="teacher",
        )
    # Attention maps are compared position by position, so they need one resolution.
    if params.recipe.compares_attention and family(theirs) != family(ours):
        raise InvalidInput(
            f"The teacher is of {theirs}, whose attention maps do not fit those of {ours}.",
            hint="Choose an architecture of the teacher's family.",
            field="architecture",
        )
    if params.start_from_teacher and theirs != ours:
        raise InvalidInput(
            f"{ours} cannot start from the weights of {theirs}.",
            hint=f"Switch “Start from the teacher” off, or use {theirs}.",
            field="start_from_teacher",
        )


def _check_continue(lab: Lab, params: TrainParams) -> None:
    assert params.continue_from is not None
    row = job_queries.get(lab.database, params.continue_from)
    if row is None or row.deleted_at is not None or row.kind != JobKind.TRAIN:
        raise InvalidInput("There is no such training job.", field="continue_from")
    if not JobStatus(row.status).is_final or row.status == JobStatus.SUCCEEDED:
        raise InvalidInput(
            f"That job is {row.status}; only a cancelled or failed one can be continued.",
            field="continue_from",
        )
    if not lab.files.has_checkpoint(row.id):
        raise InvalidInput(
            "That job left no checkpoint.", hint="Train from the start.", field="continue_from"
        )
    earlier = understood(TrainParams, row.params)
    if earlier is None:
        raise InvalidInput(
            "That job is of an earlier version of the lab, which had other parameters.",
            hint="Train from the start.",
            field="continue_from",
        )
    if not params.continues(earlier):
        raise InvalidInput(
            "A continued job keeps its parameters; only the name may change, and the number of "
            "processes where batch norms see whole batches.",
            field="continue_from",
        )


def check_ablation(lab: Lab, params: Params) -> None:
    assert isinstance(params, AblationParams)
    dataset = fitting.dataset(lab, params.training.dataset, "training.dataset")
    trainings = [planned.params for planned in params.trainings()]
    named = sorted({each.teacher for each in trainings if each.teacher is not None})
    teachers = catalogue.models_by_id(lab.database, named)
    for each in trainings:
        if each.teacher is not None and each.teacher not in teachers:
            raise InvalidInput(
                f"{each.name}: there is no such teacher.",
                hint="See the models page.",
                field="training.teacher",
            )
        try:
            _check_batch(dataset, each)
            if each.teacher is not None:
                _check_teacher(teachers[each.teacher], dataset, each)
        except InvalidInput as error:
            raise InvalidInput(
                f"{each.name}: {error.detail}", hint=error.hint, field=f"training.{error.field}"
            ) from None
