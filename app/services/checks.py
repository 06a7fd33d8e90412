"""What only the store can check of a job's parameters: models and datasets that fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.contracts.access import Need
from app.contracts.classes import places
from app.contracts.jobs import JobKind
from app.contracts.params import (
    EvaluateParams,
    ExplainParams,
    Goal,
    ImportModelParams,
    ImportParams,
    Params,
    ReleaseParams,
)
from app.errors import InvalidInput
from app.services import fitting, training_checks
from app.services.lab import Lab
from app.store import catalogue
from app.store.tables import ModelRow

_ONLY_ASK = (
    "Take `square` as the first attack, or `hop_skip_jump` where there are no scores, and only "
    "such and `transfer` as further ones; leave attention and features out."
)
_NO_FEATURES = "Leave attention, the feature view, `feature` and `adaptive` out."


def _stored_file(lab: Lab, upload_id: str) -> str:
    """What it is called. Upkeep leaves what is there until the job that needs it is written."""
    upload = catalogue.upload(lab.database, upload_id)
    if upload is None or not catalogue.keep_upload(lab.database, upload_id):
        raise InvalidInput("There is no such upload.", field="upload")
    return upload.filename


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
    dataset = fitting.dataset(lab, params.dataset)
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


def _check_evaluate(lab: Lab, params: Params) -> None:
    assert isinstance(params, EvaluateParams)
    dataset = fitting.dataset(lab, params.dataset)
    found = catalogue.models_by_id(lab.database, [*params.models, *params.sources])
    other = f"the dataset “{dataset.name}”"
    for field, ids in (("models", params.models), ("sources", params.sources)):
        for model_id in ids:
            if model_id not in found:
                raise fitting.unknown("model", field)
            fitting.knows_classes(found[model_id], dataset.report["classes"], field, other)
            fitting.says_scores_of_some(found[model_id], dataset.report["classes"], field, other)
            fitting.same_size(found[model_id], dataset.report["image_size"], field, other)
    for model_id in params.models:
        asked = Need.GRADIENTS not in found[model_id].access.record.gives
        hint = _ONLY_ASK if asked else _NO_FEATURES
        fitting.gives(found[model_id], params.needs, "models", hint)
    for model_id in params.sources:
        fitting.gives(found[model_id], {Need.GRADIENTS}, "sources", fitting.ITS_WEIGHTS)
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
            raise fitting.unknown("model", "models")
        fitting.gives(found[model], {Need.GRADIENTS, Need.FEATURES}, "models", fitting.ITS_WEIGHTS)
    first = found[params.models[0]]
    classes = first.card["classes"]
    for model in params.models[1:]:
        other = f"“{first.name}”, the first model"
        fitting.same_classes(found[model], classes, "models", other)
        fitting.same_size(found[model], first.card["image_size"], "models", other)
    _check_target(params.attack.goal, params.attack.target_class, classes)
    if params.label is not None and params.label not in classes:
        raise InvalidInput(
            "The true class is not a class of the models.",
            hint=f"One of: {', '.join(classes[:20])}.",
            field="label",
        )


def _check_release(lab: Lab, params: Params) -> None:
    assert isinstance(params, ReleaseParams)
    model = fitting.model(lab, params.model, "model")
    fitting.gives(model, {Need.GRADIENTS}, "model", "Download the file that it came as.")


_CHECKS: dict[JobKind, Callable[[Lab, Params], None]] = {
    JobKind.IMPORT: _check_import,
    JobKind.TRAIN: training_checks.check_training,
    JobKind.EVALUATE: _check_evaluate,
    JobKind.EXPLAIN: _check_explain,
    JobKind.ABLATION: training_checks.check_ablation,
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
