"""Every number of a training has bounds, and what lies outside is refused by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.contracts.params import TrainParams
from app.errors import field_errors
from tests.plugins.bounds import BOUNDS, as_json, each_refused, each_taken

_TRAIN = {"name": "Model", "dataset": "a" * 32}


def test_the_table_has_every_number() -> None:
    defaults = TrainParams.model_validate(_TRAIN).model_dump()
    numbers = {name for name, value in defaults.items() if type(value) in (int, float)}
    assert numbers == set(BOUNDS)


def test_the_bounds_themselves_are_taken_and_what_lies_outside_is_refused() -> None:
    for name, value in each_taken():
        TrainParams.model_validate({**_TRAIN, name: as_json(name, value)})
    for name, value in [*each_refused(), *((name, float("nan")) for name in BOUNDS)]:
        with pytest.raises(ValidationError) as refusal:
            TrainParams.model_validate({**_TRAIN, name: as_json(name, value)})
        named = [field for field, _ in field_errors(refusal.value.errors())]
        assert {field.split(".")[0] for field in named} == {name}, value
