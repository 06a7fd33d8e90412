"""What is wrong with a value: raised of a rule of the lab's, and read of pydantic's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ErrorType

from app.contracts.units import format_255, to_255

_OWN = ("value_error", "assertion_error")
"""Types whose message a validator of the lab's has written."""
_PYDANTICS = frozenset(get_args(ErrorType)) - frozenset(_OWN)
_UNKNOWN = "is not of the expected form"
_NAMED, _LISTED = "must be an object of names and values", "must be a list"
_WHOLE, _NUMBER = "must be a whole number", "must be a number"
_SAID = {
    "missing": "must be given",
    "extra_forbidden": "is not known here",
    "json_invalid": "is no JSON",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "has too many digits",
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "dict_type": _NAMED,
    "model_type": _NAMED,
    "model_attributes_type": _NAMED,
    "list_type": _LISTED,
    "tuple_type": _LISTED,
    "set_type": _LISTED,
    "frozen_set_type": _LISTED,
    "none_required": "must be null",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "must be given",
    "url_type": "must be an address",
    "url_parsing": "must be an address",
    "url_scheme": "must be an address of {expected_schemes}",
}
"""By pydantic's type of an error, with what its context holds."""
_DIGITS = re.compile(r"\[0-9a-f\]\{(1,)?(\d+)\}")
"""The one part of a pattern that ids, beginnings of ids and checksums have."""

_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""How the tags of a union that are members of an enum are listed."""


def invalid(field: str, message: str) -> PydanticCustomError:
    """The error of a rule that spans several fields; it names the one to change."""
    return PydanticCustomError("invalid", "{message}", {"field": field, "message": message})


def message_of(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, in words for people; those of a rule of the lab's stay.

    No regular expression, class name or number of 17 digits gets out.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind not in _PYDANTICS:
        return str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind == "string_pattern_mismatch":
        return _expected(context["pattern"])
    said = _SAID.get(kind, _UNKNOWN).format_map({k: _shown(v) for k, v in context.items()})
    return said.replace(" 1 entries", " one entry").replace(" 1 characters", " one character")


def _expected(pattern: str) -> str:
    found = _DIGITS.search(pattern)
    if found is None:
        return _UNKNOWN
    fewer, count = found.groups()
    return f"must be {'at most ' if fewer else ''}{count} digits of 0-9 and a-f"


def _shown(value: Any) -> str:
    """A limit as people write it; one of whole grey levels is no short number, and is n/255."""
    if isinstance(value, float):
        short = f"{value:g}"
        return format_255(value) if float(short) != value and to_255(value) % 1 == 0 else short
    if isinstance(value, int):
        return f"{value:,}"
    return _MEMBER.sub(r"\1", str(value))
