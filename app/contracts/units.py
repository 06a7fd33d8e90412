"""Perturbation budgets: n/255 as people write them, [0, 1] as the mathematics uses them.

The conversion happens here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

LEVELS = 255
_FRACTION = re.compile(r"\s*(\d{1,4}(?:\.\d{1,6})?)\s*/\s*255\s*")


def from_255(levels: float) -> float:
    """`8` (of 255 grey levels) -> 0.03137 (of the [0, 1] range)."""
    return levels / LEVELS


def to_255(value: float) -> float:
    """0.03137 -> 8.0; rounded to 1e-6 so that a round trip prints the number that was typed."""
    return round(value * LEVELS, 6)


def format_255(value: float) -> str:
    """0.03137 -> `8/255`."""
    return f"{to_255(value):g}/255"


def parse(value: Any) -> Any:
    """`"8/255"` -> 0.03137. Anything else is left to the field's own validation."""
    if isinstance(value, str) and (match := _FRACTION.fullmatch(value)):
        return from_255(float(match.group(1)))
    return value


Intensity = Annotated[
    float,
    BeforeValidator(parse),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": r"^\d{1,4}(\.\d{1,6})?/255$"},
            ],
            "examples": ["8/255", 0.03137],
        }
    ),
]
"""A length in the image's [0, 1] range; `"8/255"` is understood. Forms show the unit /255."""
