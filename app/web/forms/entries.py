"""From what was typed or stored to parameters, and what is wrong at which field.

Budgets (unit `/255`) are typed as `8` and handed to the contract as `8/255`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.contracts.complaints import message_of
from app.contracts.params import Params
from app.errors import InvalidInput
from app.web.forms.pairs import joined, read_pairs, typed_pairs
from app.web.forms.specs import Spec, specs, typed

_SEPARATORS = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"\d+(\.\d+)?")

P = TypeVar("P", bound=Params)


class Posted(Protocol):
    """What a browser sent: names, each with its entries."""

    def __contains__(self, name: str) -> bool: ...

    def getlist(self, name: str) -> Sequence[Any]: ...


class Rejected(InvalidInput):
    """What was typed cannot be taken; messages by field, `""` for those that belong to none."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in messages.items()))
        self.messages = dict(messages)
        self.sent: dict[str, tuple[str, ...]] = {}
        """The entry of the file that came and is kept for another try."""


def entries_of(params: type[Params], values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A job's stored parameters as they would be typed; names that are no longer known drop out."""
    found = {}
    for spec in specs(params):
        value: Any = values
        for part in spec.name.split("."):
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            found[spec.name] = _as_typed(spec, value)
    return found


def _as_typed(spec: Spec, value: Any) -> tuple[str, ...]:
    if spec.widget == "pairs":
        return typed_pairs(value)
    return typed(value is not None if spec.switches else value, spec.unit, spec.widget)


_MISSING = object()
_LONGEST_NUMBER = 20
"""Digits of a choice that is a number; more are no choice, and Python refuses thousands."""
_LONGEST_SEARCH = 200
_NOTHING = {"check": "false", "many": ""}


def searched(field: str) -> str:
    """The name under which a form says what is searched among the choices of a field."""
    return f"search.{field}"


def asked(entries: Mapping[str, Sequence[str]], field: str) -> tuple[Sequence[str], str]:
    """What is chosen in a field whose choices the lab holds, and what is searched among them."""
    search = next(iter(entries.get(searched(field), ())), "")
    return entries.get(field, ()), search.strip()


def posted_entries(params: type[Params], posted: Posted) -> dict[str, tuple[str, ...]]:
    """What was typed, field by field, and what is searched.

    A check that is off sends only its hidden `false`, and an address says with an empty entry that
    nothing of several things is chosen.
    """
    found = {
        spec.name: tuple(
            entry
            for entry in posted.getlist(spec.name)
            if isinstance(entry, str) and entry != _NOTHING.get(spec.widget)
        )
        for spec in specs(params)
        if spec.name in posted
    }
    found |= {
        name: tuple(text[:_LONGEST_SEARCH] for text in _texts(posted, name))
        for name in (searched(spec.name) for spec in specs(params))
        if name in posted
    }
    return found | {
        spec.name: joined(*(_texts(posted, f"{spec.name}.{part}") for part in ("of", "is")))
        for spec in specs(params)
        if spec.widget == "pairs" and f"{spec.name}.of" in posted
    }


def _texts(posted: Posted, name: str) -> list[str]:
    return [entry for entry in posted.getlist(name) if isinstance(entry, str)]


def read(params: type[P], entries: Mapping[str, Sequence[str]]) -> P:
    """The parameters that were typed. Raises Rejected."""
    values: dict[str, Any] = {}
    off = [s.name for s in specs(params) if s.switches and entries.get(s.name) == ()]
    values |= dict.fromkeys(off)
    for spec in specs(params):
        if _says_something(spec, entries) and spec.name.split(".")[0] not in off:
            *path, last = spec.name.split(".")
            place = values
            for part in path:
                place = place.setdefault(part, {})
            place[last] = _value(spec, entries[spec.name])
    try:
        return params.model_validate(values)
    except ValidationError as error:
        raise Rejected(_messages(params, error)) from None


def _says_something(spec: Spec, entries: Mapping[str, Sequence[str]]) -> bool:
    """Whether there is a value of its own: not for a switch, nor where empty is the default."""
    if spec.switches or spec.name not in entries:
        return False
    return spec.default_by is None or any(entry.strip() for entry in entries[spec.name])


def _value(spec: Spec, entries: Sequence[str]) -> Any:
    entry = entries[0].strip() if entries else ""
    if spec.widget == "check":
        return bool(entries)
    if spec.widget == "many":
        return list(entries)
    if spec.widget == "pairs":
        return read_pairs(entries)
    if not entry and spec.optional:
        return None
    if spec.widget == "list":
        return [_number(spec, part) for part in _SEPARATORS.split(entry) if part]
    if spec.widget == "number":
        return _number(spec, entry)
    if spec.choices and entry.isdecimal() and len(entry) < _LONGEST_NUMBER:
        return int(entry)
    return entry


def _number(spec: Spec, entry: str) -> str:
    return f"{entry}{spec.unit}" if spec.in_255 and _NUMBER.fullmatch(entry) else entry


def rejected_by_service(params: type[Params], error: InvalidInput) -> Rejected:
    """What a service refused, at the field that it named."""
    message = f"{error.detail} {error.hint}".strip()
    return Rejected({_named(params, error.field or ""): message})


def _named(params: type[Params], field: str) -> str:
    """The form's name of a field that may lie in a nested model; `""` for an unknown one."""
    names = [spec.name for spec in specs(params)]
    return next((n for n in names if n == field or n.endswith(f".{field}")), "")


def _messages(params: type[Params], error: ValidationError) -> dict[str, str]:
    by_name = {spec.name: spec for spec in specs(params)}
    messages: dict[str, str] = {}
    for one in error.errors():
        if one["type"] == "invalid":
            name, message = _named(params, one["ctx"]["field"]), str(one["msg"])
        else:
            path = [str(part) for part in one["loc"]]
            parts = (".".join(path[:end]) for end in range(len(path), 0, -1))
            name = next((part for part in parts if part in by_name), "")
            message = _message(by_name.get(name), one)
        messages.setdefault(name, message)
    return messages


def _message(spec: Spec | None, error: ErrorDetails) -> str:
    """The contract's complaint in the words and the unit of the form."""
    kind, message = error["type"], message_of(error)
    if spec is None:
        return message
    many = spec.widget in ("list", "many")
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"must be {spec.bounds}" + (f" ({spec.unit})" if spec.unit else "")
    if _is_missing(spec, error):
        return "must be chosen" if spec.widget in ("select", "many") else "must be given"
    if kind.startswith(("int_", "float_", "finite_")):
        number = "whole number" if spec.number == "int" else "number"
        return f"must be {number}s, separated by commas" if many else f"must be a {number}"
    return _OTHER_MESSAGES.get(kind, message)


_OTHER_MESSAGES = {
    "dict_type": "must be settings such as steps=7",
    "tuple_type": "must be values, separated by commas",
    "enum": "is none of the choices",
    "literal_error": "is none of the choices",
}


def _is_missing(spec: Spec, error: ErrorDetails) -> bool:
    """Whether nothing was typed, or nothing chosen, as by an id that is no id."""
    kind, is_empty = error["type"], spec.required and error["input"] == ""
    is_unchosen = spec.widget == "select" and kind == "string_pattern_mismatch"
    return kind in ("missing", "too_short", "string_too_short") or is_empty or is_unchosen
