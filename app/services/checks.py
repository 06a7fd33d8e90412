"""What only the store can check of a job's parameters: models and datasets that fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from app.contracts.access import Need
from app.contracts.classes import missing, places
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ExplainParams,
    Goal,
    ImportModelParams,
    ImportParams,
    Params,
    ReleaseParams,
    TrainParams,
    family,
)
from app.contracts.recipes import TEACHERS
from app.contracts.stored import understood
from app.errors import InvalidInput
from app.services.lab import Lab
from app.store import catalogue, job_queries
from app.store.tables import DatasetRow, ModelRow

_ITS_WEIGHTS = "Choose a model whose weights are in the lab."
_ONLY_ASK = (
    "Take `square` as the first attack, or `hop_skip_jump` where there are no scores, and only "
    "such and `transfer` as further ones; leave attention and features out."
)


def _unknown(what: str, field: str) -> InvalidInput:
    return InvalidInput(f"There is no such {what}.", hint=f"See the {what}s page.", field=field)


def _dataset(lab: Lab, dataset_id: str, field: str = "dataset") -> DatasetRow:
    row = catalogue.dataset(lab.database, dataset_id)
    if row is None:
        raise _unknown("dataset", field)
    return row


def _model(lab: Lab, model_id: str, field: str) -> ModelRow:
    row = catalogue.model(lab.database, model_id)
    if row is None:
        raise _unknown("model", field)
    return row


def _stored_file(lab: Lab, upload_id: str) -> str:
    """What it is called. Upkeep leaves what is there until the job that needs it is written."""
    upload = catalogue.upload(lab.database, upload_id)
    if upload is None or not catalogue.keep_upload(lab.database, upload_id):
        raise InvalidInput("There is no such upload.", field="upload")
    return upload.filename


def _same_classes(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    if list(model.card["classes"]) != list(classes):
        raise InvalidInput(
            f"The model “{model.name}” has other classes than {other}.",
            hint="Choose a model that was trained on the same classes, in the same order.",
            field=field,
        )


def _knows_classes(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    """An evaluation finds a model's outputs by name: in another order, or among more."""
    if places(classes, model.card["classes"]) is None:
        unknown = missing(classes, model.card["classes"])
        why = "Several classes of the dataset are the same class of the model."
        if unknown:
            why = f"It lacks {', '.join(unknown[:5])}, or has several that are written alike."
        raise InvalidInput(
            f"The model “{model.name}” does not know all classes of {other}.",
            hint=f"{why} Choose a model that was trained on these classes, or on more.",
            field=field,
        )


def _says_scores_of_some(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    """Of labels none can be left out: the next likeliest class is not known."""
    if Need.SCORES not in model.access.record.gives and len(classes) < len(model.card["classes"]):
        raise InvalidInput(
            f"“{model.name}” answers with labels, also of classes that {other} has not.",
            hint="Choose a dataset of all its classes.",
            field=field,
        )


def _same_size(model: ModelRow, size: int, field: str, other: str) -> None:
    if model.card["image_size"] != size:
        raise InvalidInput(
            f"The model “{model.name}” sees images of {model.card['image_size']} pixels, "
            f"{other} of {size}.",
            hint="Choose a model of the same image size.",
            field=field,
        )


def _gives(model: ModelRow, needs: Set[Need], field: str, hint: str) -> None:
    access = model.access
    lacking = [need.value for need in Need if need in needs - access.record.gives]
    if lacking:
        raise InvalidInput(
            f"“{model.name}” is a {access.record.title}: it gives no {' and no '.join(lacking)}.",
            hint=hint,
            field=field,
        )


def check_name(lab: Lab, name: str) -> None:
    """Raises InvalidInput where a dataset has the name already, also one in the bin."""
    held = catalogue.dataset_named(lab.database, name)
    if held is not None:
        where = "" if held.deleted_at is None else " in the bin"
        raise InvalidInput(
            f"There is a dataset named “{name}” already{where}.",
            hint="Choose another name.",
            field="name",
        )


def _check_import(lab: Lab, params: Params) -> None:
    assert isinstance(params, ImportParams)
    check_name(lab, params.name)


def _check_import_model(lab: Lab, params: Params) -> None:
    assert isinstance(params, ImportModelParams)
    dataset = _dataset(lab, params.dataset)
    classes = dataset.report["classes"]
    if params.classes is not None and places(classes, params.classes) is None:
        raise InvalidInput(
            f"The classes are not those of the dataset “{dataset.name}”.",
            hint=f"Name each of its classes once: {', '.join(classes[:20])}.",
            field="classes",
        )
    if params.outputs is not None and len(params.outputs) != len(classes):
        raise InvalidInput(
            f"{len(params.outputs):,} outputs are named for the {len(classes):,} classes of the "
            f"dataset “{dataset.name}”.",
            hint="Give one number for each class, in the dataset's order.",
            field="outputs",
        )
    if params.upload is None:
        _check_address(lab, params.address)


def _holds_its_network(params: Params, filename: str) -> None:
    if not isinstance(params, ImportModelParams) or params.architecture is not None:
        return
    if not filename.lower().endswith(".onnx"):
        raise InvalidInput(
            "Weights need the architecture that they belong to.",
            hint="Only an ONNX file holds its own network; its name ends in .onnx.",
            field="architecture",
        )


def _check_address(lab: Lab, address: str | None) -> None:
    listed = lab.settings.endpoints
    if address not in listed:
        raise InvalidInput(
            f"{address} is not among the addresses that this lab may ask.",
            hint=f"One of: {', '.join(listed)}."
            if listed
            else "Its operator lists them in LAB_ENDPOINTS.",
            field="address",
        )


def _check_train(lab: Lab, params: Params) -> None:
    assert isinstance(params, TrainParams)
    dataset = _dataset(lab, params.dataset)
    _check_batch(dataset, params)
    if params.teacher is not None:
        _check_teacher(_model(lab, params.teacher, "teacher"), dataset, params)
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
    _gives(teacher, {Need.FEATURES, Need.GRADIENTS}, "teacher", _ITS_WEIGHTS)
    _same_classes(teacher, dataset.report["classes"], "teacher", other)
    _same_size(teacher, dataset.report["image_size"], "teacher", other)
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
            f"The teacher is a {theirs}, whose attention maps do not fit those of a {ours}.",
            hint="Choose an architecture of the teacher's family.",
            field="architecture",
        )
    if params.start_from_teacher and theirs != ours:
        raise InvalidInput(
            f"A {ours} cannot start from the weights of a {theirs}.",
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


def _check_evaluate(lab: Lab, params: Params) -> None:
    assert isinstance(params, EvaluateParams)
    dataset = _dataset(lab, params.dataset)
    found = catalogue.models_by_id(lab.database, [*params.models, *params.sources])
    other = f"the dataset “{dataset.name}”"
    for field, ids in (("models", params.models), ("sources", params.sources)):
        for model_id in ids:
            if model_id not in found:
                raise _unknown("model", field)
            _knows_classes(found[model_id], dataset.report["classes"], field, other)
            _says_scores_of_some(found[model_id], dataset.report["classes"], field, other)
            _same_size(found[model_id], dataset.report["image_size"], field, other)
    for model_id in params.models:
        _gives(found[model_id], params.needs, "models", _ONLY_ASK)
    for model_id in params.sources:
        _gives(found[model_id], {Need.GRADIENTS}, "sources", _ITS_WEIGHTS)
    _check_transfer(params, found)
    _check_room(lab, params, dataset.report["image_size"])
    _check_target(params.attack.goal, params.attack.target_class, dataset.report["classes"])


def _check_room(lab: Lab, params: EvaluateParams, side: int) -> None:
    limit = lab.settings.max_kept_mb
    if params.kept_bytes(side) > limit * 2**20:
        raise InvalidInput(
            f"The adversarial images to keep would take more than {limit:,} MB.",
            hint="Keep fewer, or raise LAB_MAX_KEPT_MB.",
            field="keep_adversarial",
        )


def _check_transfer(params: EvaluateParams, found: Mapping[str, ModelRow]) -> None:
    """An attack on the model under test itself is white-box: some pair has to be of two models."""
    needs_source = any(method.record.needs_source for method in params.further)
    if needs_source and len({*params.models, *params.sources}) == 1:
        raise InvalidInput(
            f"“{found[params.models[0]].name}” would be attacked from itself: that is no transfer.",
            hint="Choose another source, or one more.",
            field="sources",
        )


def _check_target(goal: Goal, target: str | None, classes: Sequence[str]) -> None:
    if goal is Goal.CLASS and target not in classes:
        raise InvalidInput(
            "The target class is not a class of the model.",
            hint=f"One of: {', '.join(classes[:20])}.",
            field="target_class",
        )


def _check_explain(lab: Lab, params: Params) -> None:
    assert isinstance(params, ExplainParams)
    found = catalogue.models_by_id(lab.database, params.models)
    for model in params.models:
        if model not in found:
            raise _unknown("model", "models")
        _gives(found[model], {Need.GRADIENTS, Need.FEATURES}, "models", _ITS_WEIGHTS)
    first = found[params.models[0]]
    classes = first.card["classes"]
    for model in params.models[1:]:
        other = f"“{first.name}”, the first model"
        _same_classes(found[model], classes, "models", other)
        _same_size(found[model], first.card["image_size"], "models", other)
    _check_target(params.attack.goal, params.attack.target_class, classes)
    if params.label is not None and params.label not in classes:
        raise InvalidInput(
            "The true class is not a class of the models.",
            hint=f"One of: {', '.join(classes[:20])}.",
            field="label",
        )


def _check_ablation(lab: Lab, params: Params) -> None:
    assert isinstance(params, AblationParams)
    dataset = _dataset(lab, params.training.dataset, "training.dataset")
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


def _check_release(lab: Lab, params: Params) -> None:
    assert isinstance(params, ReleaseParams)
    model = _model(lab, params.model, "model")
    _gives(model, {Need.GRADIENTS, Need.FEATURES}, "model", "Download the file that it came as.")


_CHECKS: dict[JobKind, Callable[[Lab, Params], None]] = {
    JobKind.IMPORT: _check_import,
    JobKind.TRAIN: _check_train,
    JobKind.EVALUATE: _check_evaluate,
    JobKind.EXPLAIN: _check_explain,
    JobKind.ABLATION: _check_ablation,
    JobKind.IMPORT_MODEL: _check_import_model,
    JobKind.RELEASE: _check_release,
}


def check(lab: Lab, kind: JobKind, params: Params, *, to_store: str | None = None) -> None:
    """Raises InvalidInput, which names the field to change, where they do not fit what is held.

    `to_store`: what the file is called whose upload they name, where it is yet to be stored.
    """
    _CHECKS[kind](lab, params)
    upload = getattr(params, "upload", None)
    if upload is not None:
        file = _stored_file(lab, upload) if to_store is None else to_store
        _holds_its_network(params, file)
