"""Forms from the specs of parameters, and the way back from what was typed.

Budgets (unit `/255`) are typed as `8` and handed to the contract as `8/255`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.contracts.params import EvaluateParams, ExplainParams, Params, TrainParams
from app.errors import InvalidInput
from app.web.specs import Choice, Spec, plain, specs, typed

_SEPARATORS = re.compile(r"[\s,;]+")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_STUDENT = ("recipe", "agkd_bml")
_PGD = ("attack.method", "pgd")

SHOWN_WHEN: Mapping[type[Params], Mapping[str, tuple[str, str]]] = {
    TrainParams: {
        **dict.fromkeys(
            ("teacher", "epsilon", "step_size", "steps", "agkd_weight", "bml_weight", "margin",
             "mu", "mart", "mart_beta", "start_from_teacher"),
            _STUDENT,
        ),
        "milestones": ("schedule", "multistep"),
    },
    EvaluateParams: {
        **dict.fromkeys(
            ("attack.steps", "attack.relative_step", "attack.random_start", "step_counts",
             "epsilon"),
            _PGD,
        ),
        "attack.target_class": ("attack.goal", "class"),
    },
    ExplainParams: {
        **dict.fromkeys(("attack.steps", "attack.relative_step", "attack.random_start"), _PGD),
        "attack.target_class": ("attack.goal", "class"),
    },
}  # fmt: skip
"""Fields that mean something only for one value of another field. Scripts hide the others."""

P = TypeVar("P", bound=Params)


class Posted(Protocol):
    """What a browser sent: names, each with its entries."""

    def __contains__(self, name: str) -> bool: ...

    def getlist(self, name: str) -> Sequence[Any]: ...


@dataclass(frozen=True)
class FieldView:
    """A field as it stands on the page."""

    spec: Spec
    entries: tuple[str, ...]
    """What is typed or chosen; outside text."""
    choices: tuple[Choice, ...]
    error: str
    shown_when: tuple[str, str] | None
    """The field and the value that this one belongs to."""
    prefix: str = "field"
    """Tells fields of two forms on one page apart."""

    @property
    def entry(self) -> str:
        return self.entries[0] if self.entries else ""

    @property
    def id(self) -> str:
        return f"{self.prefix}-{self.spec.name.replace('.', '-')}"

    @property
    def input_type(self) -> str:
        """A browser drops what is not a number from a number field; then it is shown as text."""
        numeric = self.spec.widget == "number" and (not self.entry or _is_number(self.entry))
        return "number" if numeric else "text"

    @property
    def minimum(self) -> str:
        return "" if self.spec.bounds.low is None else plain(self.spec.bounds.low)

    @property
    def maximum(self) -> str:
        return "" if self.spec.bounds.high is None else plain(self.spec.bounds.high)


@dataclass(frozen=True)
class GroupView:
    """Fields under one heading; the first group has none."""

    title: str
    fields: tuple[FieldView, ...]
    open: bool
    """For a group that can be closed."""

    @property
    def basic(self) -> bool:
        """What everyone decides, always open: parameters without a group and nested models."""
        return not self.title or "." in self.fields[0].spec.name


@dataclass(frozen=True)
class FormView:
    """A form as it stands on the page."""

    groups: tuple[GroupView, ...]
    errors: tuple[str, ...] = ()
    """What belongs to no single field."""

    @property
    def fields(self) -> tuple[FieldView, ...]:
        return tuple(field for group in self.groups for field in group.fields)

    @property
    def has_errors(self) -> bool:
        return bool(self.errors) or any(field.error for field in self.fields)


class Rejected(InvalidInput):
    """What was typed cannot be taken; messages by field, `""` for those that belong to none."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in messages.items()))
        self.messages = dict(messages)


def form(
    params: type[Params],
    *,
    entries: Mapping[str, Sequence[str]],
    choices: Mapping[str, Sequence[Choice]],
    errors: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    prefix: str = "field",
) -> FormView:
    """The form for `params`; fields that `entries` leaves out show their defaults."""
    messages = dict(errors or {})
    shown_when = SHOWN_WHEN.get(params, {})
    fields = [
        FieldView(
            spec=spec,
            entries=_entries(spec, entries, choices.get(spec.name, ())),
            choices=spec.choices or tuple(choices.get(spec.name, ())),
            error=messages.pop(spec.name, ""),
            shown_when=shown_when.get(spec.name),
            prefix=prefix,
        )
        for spec in specs(params)
        if spec.name not in without
    ]
    return FormView(groups=_groups(fields), errors=tuple(messages.values()))


def _entries(
    spec: Spec, entries: Mapping[str, Sequence[str]], choices: Sequence[Choice]
) -> tuple[str, ...]:
    if spec.name in entries:
        return tuple(entries[spec.name])
    only_one = spec.required and spec.widget == "select" and len(choices) == 1
    return (choices[0].value,) if only_one else spec.default


def _groups(fields: Sequence[FieldView]) -> tuple[GroupView, ...]:
    titles = list(dict.fromkeys(field.spec.group for field in fields))
    by_title = sorted(fields, key=lambda field: titles.index(field.spec.group))
    return tuple(
        _group(title, tuple(members))
        for title, members in groupby(by_title, key=lambda field: field.spec.group)
    )


def _group(title: str, fields: tuple[FieldView, ...]) -> GroupView:
    touched = any(field.error or field.entries != field.spec.default for field in fields)
    return GroupView(title=title, fields=fields, open=touched)


def entries_of(params: type[Params], values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A job's stored parameters as they would be typed; names that are no longer known drop out."""
    found = {}
    for spec in specs(params):
        value: Any = values
        for part in spec.name.split("."):
            value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            found[spec.name] = typed(value, spec.unit, spec.widget)
    return found


_MISSING = object()


def posted_entries(params: type[Params], posted: Posted) -> dict[str, tuple[str, ...]]:
    """What was typed, field by field. A check that is off sends only its hidden `false`."""
    return {
        spec.name: tuple(
            entry
            for entry in posted.getlist(spec.name)
            if isinstance(entry, str) and not (spec.widget == "check" and entry == "false")
        )
        for spec in specs(params)
        if spec.name in posted
    }


def read(params: type[P], entries: Mapping[str, Sequence[str]]) -> P:
    """The parameters that were typed. Raises Rejected."""
    values: dict[str, Any] = {}
    for spec in specs(params):
        if spec.name in entries:
            *path, last = spec.name.split(".")
            place = values
            for part in path:
                place = place.setdefault(part, {})
            place[last] = _value(spec, entries[spec.name])
    try:
        return params.model_validate(values)
    except ValidationError as error:
        raise Rejected(_messages(params, error)) from None


def _value(spec: Spec, entries: Sequence[str]) -> Any:
    entry = entries[0].strip() if entries else ""
    if spec.widget == "check":
        return bool(entries)
    if spec.widget == "many":
        return list(entries)
    if spec.widget == "list":
        return [_number(spec, part) for part in _SEPARATORS.split(entry) if part]
    if not entry and spec.optional:
        return None
    if spec.widget == "number":
        return _number(spec, entry)
    if spec.choices and entry.isdecimal():
        return int(entry)
    return entry


def _number(spec: Spec, entry: str) -> str:
    return f"{entry}{spec.unit}" if spec.in_255 and _NUMBER.fullmatch(entry) else entry


def _is_number(entry: str) -> bool:
    try:
        return abs(float(entry)) < float("inf")
    except ValueError:
        return False


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
        if one["type"] == "misfit":
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
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if spec is None:
        return message
    many = spec.widget in ("list", "many")
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"must be {spec.bounds}" + (f" ({spec.unit})" if spec.unit else "")
    if kind in ("missing", "too_short", "string_too_short") or _is_unchosen(spec, kind):
        return "must be chosen" if spec.widget in ("select", "many") else "must be given"
    if kind.startswith(("int_", "float_", "finite_")):
        number = "whole number" if spec.number == "int" else "number"
        return f"must be {number}s, separated by commas" if many else f"must be a {number}"
    if kind in ("too_long", "string_too_long"):
        unit = "entries" if many else "characters"
        return f"must have at most {error['ctx']['max_length']} {unit}"
    return _OTHER_MESSAGES.get(kind, message)


_OTHER_MESSAGES = {
    "string_pattern_mismatch": "is not of the expected form",
    "enum": "is none of the choices",
    "literal_error": "is none of the choices",
}


def _is_unchosen(spec: Spec, kind: str) -> bool:
    """An id that is no id: nothing was chosen."""
    return spec.widget == "select" and kind == "string_pattern_mismatch"
