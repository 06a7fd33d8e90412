"""n/255 and [0, 1]: the only conversion in the lab."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.contracts.units import Intensity, format_255, from_255, parse, to_255

INTENSITY: TypeAdapter[float] = TypeAdapter(Intensity)


@given(st.integers(0, 255 * 1000).map(lambda n: n / 1000))
def test_what_was_typed_is_what_is_shown(levels: float) -> None:
    assert to_255(from_255(levels)) == levels
    assert parse(format_255(from_255(levels))) == pytest.approx(from_255(levels), abs=1e-8)


def test_eight_levels() -> None:
    assert from_255(8) == pytest.approx(0.031372549, abs=1e-9)
    assert format_255(0.03137254901960784) == "8/255"
    assert format_255(from_255(0.5)) == "0.5/255"


@pytest.mark.parametrize("text", ["8/255", " 8 / 255 ", "8.0/255", "8/255\n"])
def test_a_fraction_is_understood(text: str) -> None:
    assert INTENSITY.validate_python(text) == 8 / 255


@pytest.mark.parametrize("text", ["8/256", "8/", "/255", "-8/255", "1e1/255", "8//255", ""])
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ValidationError):
        INTENSITY.validate_python(text)


def test_a_number_is_a_share_of_the_range_and_not_levels() -> None:
    assert INTENSITY.validate_python(0.5) == 0.5
