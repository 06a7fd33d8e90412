"""What a job is called in lists: what it does, and the names of what it does it to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ExplainParams,
    ImportModelParams,
    ImportParams,
    Params,
    ReleaseParams,
    TrainParams,
)


def named_in(params: Params) -> tuple[str, ...]:
    """The ids whose names a title needs."""
    match params:
        case TrainParams():
            return (params.dataset,)
        case EvaluateParams():
            return (params.dataset, *params.models)
        case ExplainParams():
            return (params.upload,)
        case AblationParams():
            return (params.training.dataset,)
        case ReleaseParams():
            return (params.model,)
    return ()


def title(params: Params, names: Mapping[str, str]) -> str:
    """The title of a job with these parameters.

    Args:
        names: Of the ids that `named_in` finds, as far as the lab holds what they stand for.
    """
    match params:
        case ImportParams():
            return f"{'Look at' if params.preview else 'Import'} {params.name}"
        case ImportModelParams():
            return f"Import the model {params.name}"
        case TrainParams():
            return f"Train {params.name}{_on(params.dataset, names)}"
        case EvaluateParams():
            return f"Evaluate {_several(params.models, names)}{_on(params.dataset, names)}"
        case ExplainParams():
            return f"Explain {names.get(params.upload, 'a picture that is gone')}"
        case AblationParams():
            return f"Ablation {params.name}{_on(params.training.dataset, names)}"
        case ReleaseParams():
            return f"Release {_several([params.model], names)}"
    raise TypeError(f"no job takes {type(params).__name__}")


def _on(dataset: str, names: Mapping[str, str]) -> str:
    return f" on {names[dataset]}" if dataset in names else ""


def _several(models: Sequence[str], names: Mapping[str, str]) -> str:
    """One or two by their names; of more the first, and how many others there are."""
    called = list(dict.fromkeys(names[model] for model in models if model in names))
    if not called:
        return "a deleted model" if len(models) == 1 else f"{len(models)} deleted models"
    if len(models) == 1:
        return called[0]
    if len(called) == 1 and all(model in names for model in models):
        return f"{len(models)} models called {called[0]}"
    if len(models) == 2:
        return f"{called[0]} and {called[1] if len(called) == 2 else 'a deleted model'}"
    return f"{called[0]} and {len(models) - 1} others"
