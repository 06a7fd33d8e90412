"""Named settings of trainings: each is sound, names the same parameters, and says what it costs."""

from __future__ import annotations

import pytest

from app.contracts.params import (
    TRAINING_PRESETS,
    Recipe,
    TrainingPreset,
    TrainParams,
    training_preset,
)

ID, TEACHER = "a" * 32, "b" * 32
_OWN = {
    "name", "dataset", "recipe", "teacher", "seed", "continue_from", "label_smoothing", "device",
    "processes", "nodes", "sync_batch_norm",
}  # fmt: skip


@pytest.mark.parametrize("preset", TRAINING_PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("recipe", [None, *Recipe])
def test_a_preset_is_sound_with_every_recipe(preset: TrainingPreset, recipe: Recipe | None) -> None:
    chosen = {} if recipe is None else {"recipe": recipe}
    values = {"recipe": "clean", **preset.values, **chosen, "name": "Model", "dataset": ID}
    if values["recipe"] != "clean":
        values["teacher"] = TEACHER
    params = TrainParams.model_validate(values)
    for name, value in params.model_dump(mode="json", include=set(preset.values)).items():
        assert value == values[name], name


@pytest.mark.parametrize("preset", TRAINING_PRESETS, ids=lambda preset: preset.name)
def test_a_preset_undoes_any_other(preset: TrainingPreset) -> None:
    assert set(preset.values) - _OWN == set(TrainParams.model_fields) - _OWN


def test_the_paper_has_the_values_of_the_released_code() -> None:
    values = training_preset("paper").values
    params = TrainParams.model_validate(
        {**values, "name": "Model", "dataset": ID, "teacher": TEACHER}
    )
    assert (params.recipe_name, params.architecture) == ("AGKD-BML", "wrn-28-10")
    assert (params.epsilon, params.step_size, params.steps) == (8 / 255, 2 / 255, 10)
    assert (params.margin, params.bml_weight, params.mu, params.mart) == (0.03, 2, 0.001, True)
    assert (params.label_smoothing, params.start_from_teacher) == (0.5, True)
    assert (params.learning_rate, params.momentum, params.weight_decay) == (0.1, 0.9, 2e-4)
    assert (params.batch_size, params.epochs) == (128, 200)
    assert (params.schedule, params.milestones) == ("multistep", (100, 150))
    seven = training_preset("agkd-bml-7").values
    assert {name for name in values if values[name] != seven[name]} == {"steps"}
    assert seven["steps"] == 7


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'slow'; there are paper, agkd-bml-7, quick, gpu-short"):
        training_preset("slow")
