"""What a job is called in lists: what it does, and the names of what it does it to."""

from __future__ import annotations

from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ExplainParams,
    ImportModelParams,
    ImportParams,
    Params,
    TrainParams,
)
from app.store import catalogue
from app.store.db import Database


def title(database: Database, params: Params) -> str:
    """The title of a job with these parameters; what the lab does not hold is called by its id."""
    match params:
        case ImportParams():
            return f"Import {params.name}"
        case ImportModelParams():
            return f"Import the model {params.name}"
        case TrainParams():
            return f"Train {params.name} on {_dataset(database, params.dataset)}"
        case EvaluateParams():
            return f"Evaluate {_models(database, params.models)}"
        case ExplainParams():
            return f"Explain {_upload(database, params.upload)}"
        case AblationParams():
            return f"Ablation {params.name} on {_dataset(database, params.training.dataset)}"
    raise TypeError(f"no job takes {type(params).__name__}")


def _dataset(database: Database, dataset_id: str) -> str:
    row = catalogue.dataset(database, dataset_id)
    return dataset_id if row is None else row.name


def _models(database: Database, ids: tuple[str, ...]) -> str:
    held = catalogue.models_by_id(database, ids)
    return ", ".join(held[each].name if each in held else each for each in ids)


def _upload(database: Database, upload_id: str) -> str:
    row = catalogue.upload(database, upload_id)
    return upload_id if row is None else row.filename
