"""What models and datasets have to have in common, and what is said where they have not.

Each check raises InvalidInput, which names the field to change.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from app.contracts.access import Need
from app.contracts.classes import missing, places
from app.errors import InvalidInput
from app.services.lab import Lab
from app.store import catalogue
from app.store.tables import DatasetRow, ModelRow

ITS_WEIGHTS = "Choose a model whose weights are in the lab."


def unknown(what: str, field: str) -> InvalidInput:
    return InvalidInput(f"There is no such {what}.", hint=f"See the {what}s page.", field=field)


def dataset(lab: Lab, dataset_id: str, field: str = "dataset") -> DatasetRow:
    row = catalogue.dataset(lab.database, dataset_id)
    if row is None:
        raise unknown("dataset", field)
    return row


def model(lab: Lab, model_id: str, field: str) -> ModelRow:
    row = catalogue.model(lab.database, model_id)
    if row is None:
        raise unknown("model", field)
    return row


def same_classes(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    if list(model.card["classes"]) != list(classes):
        raise InvalidInput(
            f"The model “{model.name}” has other classes than {other}.",
            hint="Choose a model that was trained on the same classes, in the same order.",
            field=field,
        )


def knows_classes(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
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


def says_scores_of_some(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    """Of labels none can be left out: the next likeliest class is not known."""
    if Need.SCORES not in model.access.record.gives and len(classes) < len(model.card["classes"]):
        raise InvalidInput(
            f"“{model.name}” answers with labels, also of classes that {other} has not.",
            hint="Choose a dataset of all its classes.",
            field=field,
        )


def same_size(model: ModelRow, size: int, field: str, other: str) -> None:
    if model.card["image_size"] != size:
        raise InvalidInput(
            f"The model “{model.name}” sees images of {model.card['image_size']} pixels, "
            f"{other} of {size}.",
            hint="Choose a model of the same image size.",
            field=field,
        )


def gives(model: ModelRow, needs: Set[Need], field: str, hint: str) -> None:
    access = model.access
    lacking = [need.value for need in Need if need in needs - access.record.gives]
    if lacking:
        raise InvalidInput(
            f"“{model.name}” is a {access.record.title}: it gives no {' and no '.join(lacking)}.",
            hint=hint,
            field=field,
        )
