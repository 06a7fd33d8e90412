"""What jobs are called: short, by the names of what they use, as far as these are known."""

from __future__ import annotations

import pytest

from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ExplainParams,
    ImportModelParams,
    ImportParams,
    Params,
    TrainParams,
)
from app.contracts.titles import named_in, title

PETS, CAT, *MODELS = ("abcdef0123456789"[i] * 32 for i in range(6))
NAMES = {PETS: "Pets", CAT: "cat.png", **dict(zip(MODELS, ("Net", "Other", "Third"), strict=False))}
TRAINING = TrainParams(name="Net", dataset=PETS)


def evaluation(*models: str) -> EvaluateParams:
    return EvaluateParams(models=models, dataset=PETS)


@pytest.mark.parametrize(
    ("params", "known", "gone"),
    [
        (ImportParams(name="Mini"), "Import Mini", "Import Mini"),
        (
            ImportModelParams(name="Net", upload=CAT, architecture="wrn-10-1", dataset=PETS),
            "Import the model Net",
            "Import the model Net",
        ),
        (TRAINING, "Train Net on Pets", "Train Net"),
        (evaluation(MODELS[0]), "Evaluate Net on Pets", "Evaluate a deleted model"),
        (
            evaluation(*MODELS[:2]),
            "Evaluate Net and Other on Pets",
            "Evaluate 2 deleted models",
        ),
        (
            evaluation(*MODELS[:3]),
            "Evaluate Net and 2 others on Pets",
            "Evaluate 3 deleted models",
        ),
        (
            ExplainParams(upload=CAT, models=(MODELS[0], MODELS[1])),
            "Explain cat.png",
            "Explain a picture that is gone",
        ),
        (
            AblationParams(name="Nets", training=TRAINING, recipes=("clean",), seeds=(0,)),
            "Ablation Nets on Pets",
            "Ablation Nets",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_title_names_what_is_known_and_shows_no_id(params: Params, known: str, gone: str) -> None:
    names = {id_: NAMES[id_] for id_ in named_in(params)}
    assert title(params, names) == known
    assert title(params, {}) == gone


def test_models_of_one_name_are_named_once() -> None:
    names = {PETS: "Pets", **dict.fromkeys(MODELS, "Net")}
    assert title(evaluation(*MODELS[:3]), names) == "Evaluate 3 models called Net on Pets"
