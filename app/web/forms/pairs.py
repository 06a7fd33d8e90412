"""Parameters that hold other parameters: `steps: 3, 7` is a list of values to try, `pgd_at:
steps=7, mart=off` are settings. Budgets are typed in grey levels, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.contracts.params import VARIABLE, TrainParams
from app.contracts.units import to_255
from app.web.forms.specs import Choice, plain, specs

EXAMPLES = {"grid": "3, 7, 10", "own": "label_smoothing=0, epochs=20"}
"""What may be typed, by parameter."""
_SWITCH = {"on": True, "off": False, "true": True, "false": False}
_UNTYPED = frozenset({"teacher", "milestones"})
"""What a grid may vary, but not by values that are typed in a line."""


def grid_choices() -> tuple[Choice, ...]:
    """The parameters of a training that a grid can vary, in the order of the form."""
    return tuple(
        Choice(spec.name, spec.label, spec.group)
        for spec in specs(TrainParams)
        if spec.name in VARIABLE - _UNTYPED
    )


def typed_pairs(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Stored parameters, one line each, as they would be typed."""
    return tuple(f"{name}: {_typed(name, value)}" for name, value in values.items())


def read_pairs(entries: Sequence[str]) -> dict[str, Any]:
    """What typed lines mean; a name in several lines has all of their values.

    One setting makes settings of all: a value among them is then a name without a value, which
    the contract refuses.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, _, text = entry.partition(":")
        parts = [part.strip() for part in text.split(",") if part.strip()]
        found.setdefault(name.strip(), []).extend(parts)
    return {
        name: dict(map(_setting, parts))
        if any("=" in part for part in parts)
        else [_read(name, part) for part in parts]
        for name, parts in found.items()
    }


def joined(names: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Lines from a form's pairs of fields; empty pairs are left out."""
    pairs = zip(names, texts, strict=False)
    return tuple(f"{name}: {text.strip()}" for name, text in pairs if name or text.strip())


def parted(entry: str) -> tuple[str, str]:
    """A line as the two fields of a form."""
    name, _, text = entry.partition(":")
    return name.strip(), text.strip()


def _setting(part: str) -> tuple[str, Any]:
    name, _, text = part.partition("=")
    return name.strip(), _read(name.strip(), text.strip())


def _typed(name: str, value: Any) -> str:
    match value:
        case list() | tuple():
            return ", ".join(_typed(name, one) for one in value)
        case dict():
            return ", ".join(f"{inner}={_typed(inner, one)}" for inner, one in value.items())
        case bool():
            return "on" if value else "off"
        case int() | float():
            return plain(to_255(value) if name in _in_255() else value)
        case str() if name in _in_255():
            return value.removesuffix("/255")
        case _:
            return str(value)


def _read(name: str, text: str) -> Any:
    if text in _SWITCH:
        return _SWITCH[text]
    number = _number(text)
    if number is None:
        return text
    return f"{text}/255" if name in _in_255() else number


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(text)
            return number if math.isfinite(number) else None
        except (ValueError, OverflowError):  # an integer may be too long for a float
            continue
    return None


@lru_cache
def _in_255() -> frozenset[str]:
    return frozenset(spec.name for spec in specs(TrainParams) if spec.in_255)
