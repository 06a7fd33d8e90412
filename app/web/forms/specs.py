"""How each parameter is shown: derived from the contract's metadata and from nothing else."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.contracts.options import Option
from app.contracts.params import Id, Params
from app.contracts.units import to_255

UNIT_255 = "/255"
_ID_PATTERN = next(c.pattern for c in typing.get_args(Id)[1:] if isinstance(c, StringConstraints))

Widget = Literal["text", "number", "list", "check", "select", "many", "pairs"]
"""`pairs`: lines of a name, a colon, and what belongs to it."""


@dataclass(frozen=True)
class Choice:
    """One thing to choose; `label` and `help` may be outside text."""

    value: str
    label: str
    group: str = ""
    help: str = ""


@dataclass(frozen=True)
class Bounds:
    """Limits in the unit that is typed; None where there is none."""

    low: float | None = None
    high: float | None = None
    above: bool = False
    """The low limit itself is outside."""
    below: bool = False
    """The high limit itself is outside."""

    def __str__(self) -> str:
        """`above 0, at most 64`, `from 1 to 1,000`; empty without limits."""
        low, high = (None if b is None else _grouped(b) for b in (self.low, self.high))
        if low and high and not (self.above or self.below):
            return f"from {low} to {high}"
        parts = [] if low is None else [f"{'above' if self.above else 'at least'} {low}"]
        if high is not None:
            parts.append(f"{'below' if self.below else 'at most'} {high}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Spec:
    """How one parameter is shown. `name` has a dot where the parameter lies in a nested model."""

    name: str
    label: str
    help: str
    unit: str
    group: str
    widget: Widget
    number: Literal["", "int", "float"]
    """What an entry of a `number` or `list` is; empty for other widgets."""
    optional: bool
    """An empty entry means None."""
    required: bool
    """There is no default."""
    default: tuple[str, ...]
    """As typed: nothing, one entry, or several for `many`."""
    bounds: Bounds
    choices: tuple[Choice, ...]
    """Of the contract itself; those that the lab holds come with the form."""
    pattern: str
    max_length: int | None
    switches: bool = False
    """Off, it makes all parameters None whose names begin with its own and a dot."""

    @property
    def explained(self) -> bool:
        """Whether the choices carry explanations: then all of them are shown at once."""
        return any(choice.help for choice in self.choices)

    @property
    def in_255(self) -> bool:
        return self.unit == UNIT_255


def plain(number: float) -> str:
    """0.0002 -> `0.0002`, 8.0 -> `8`: as a person would type it."""
    return str(int(number)) if number == int(number) else repr(number)


def _grouped(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else plain(number)


def typed(value: Any, unit: str, widget: Widget) -> tuple[str, ...]:
    """A parameter's value as it is typed into its field, from the contract or from JSON."""
    match value:
        case None | {}:
            return ()
        case list() | tuple() if widget == "many":
            return tuple(str(entry) for entry in value)
        case bool():
            return ("true",) if value else ()
        case int() | float():
            return (plain(to_255(value) if unit == UNIT_255 else value),)
        case list() | tuple():
            return (", ".join(typed(entry, unit, "number")[0] for entry in value),)
        case _:
            return (str(value),)


@lru_cache
def specs(params: type[Params]) -> tuple[Spec, ...]:
    """The parameters of a job in the order of the contract, nested ones in their place."""
    return tuple(_specs(params, "", None))


def _specs(model: type[BaseModel], prefix: str, defaults: BaseModel | None) -> Iterator[Spec]:
    for name, field in model.model_fields.items():
        default = getattr(defaults, name) if defaults else _default(field)
        kind, optional, constraints = _unwrapped(field)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            given = default if isinstance(default, BaseModel) else None
            if optional:
                yield _switch(prefix + name, field, on=given is not None)
            for spec in _specs(kind, f"{prefix}{name}.", given):
                yield replace(spec, group=spec.group or field.title or name)
        else:
            yield _spec(prefix + name, field, kind, constraints, default, optional)


def _switch(name: str, field: FieldInfo, *, on: bool) -> Spec:
    title = field.title or name
    return Spec(
        name=name, label=title, help=field.description or "", unit="", group=title, widget="check",
        number="", optional=False, required=False, default=typed(on, "", "check"),
        bounds=Bounds(), choices=(), pattern="", max_length=None, switches=True,
    )  # fmt: skip


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _unwrapped(field: FieldInfo) -> tuple[Any, bool, list[Any]]:
    """The field's type without None and Annotated, whether None is allowed, its constraints."""
    kind, constraints, optional = field.annotation, list(field.metadata), False
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(a for a in typing.get_args(kind) if a is not types.NoneType)
        optional = True
    if typing.get_origin(kind) is typing.Annotated:
        kind, *more = typing.get_args(kind)
        constraints += more
    return kind, optional, constraints


def _spec(
    name: str, field: FieldInfo, kind: Any, constraints: list[Any], default: Any, optional: bool
) -> Spec:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    unit, missing = str(extra["unit"]), default is PydanticUndefined
    text = next((c for c in constraints if isinstance(c, StringConstraints)), StringConstraints())
    length = next((c.max_length for c in constraints if isinstance(c, MaxLen)), None)
    widget, number = _widget(kind, text)
    return Spec(
        name=name,
        label=field.title or name,
        help=field.description or "",
        unit=unit,
        group=str(extra["group"]),
        widget=widget,
        number=number,
        optional=optional,
        required=missing,
        default=() if missing else typed(default, unit, widget),
        bounds=_bounds(constraints, unit),
        choices=_choices(kind, extra["only"]),
        pattern=str(text.pattern or ""),
        max_length=text.max_length or (length if widget == "text" else None),
    )


def _widget(kind: Any, text: StringConstraints) -> tuple[Widget, Literal["", "int", "float"]]:
    if typing.get_origin(kind) is tuple:
        entry = typing.get_args(kind)[0]
        if typing.get_origin(entry) is typing.Annotated:
            entry = typing.get_args(entry)[0]
        if entry is str or (isinstance(entry, type) and issubclass(entry, Enum)):
            return "many", ""
        return "list", "int" if entry is int else "float"
    if typing.get_origin(kind) is dict:
        return "pairs", ""
    if kind is bool:
        return "check", ""
    if typing.get_origin(kind) is Literal or issubclass(kind, Enum):
        return "select", ""
    if kind in (int, float):
        return "number", "int" if kind is int else "float"
    assert kind is str, f"no widget for {kind}"
    return ("select" if text.pattern == _ID_PATTERN else "text"), ""


def _choices(kind: Any, only: Any) -> tuple[Choice, ...]:
    """Of a closed set of values, those in `only` where it names any."""
    if typing.get_origin(kind) in (tuple, dict):
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is Literal:
        return tuple(Choice(str(value), str(value)) for value in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = [m for m in kind if not only or m.value in only]
        return tuple(_choice(m) for m in members)
    return ()


def _choice(member: Enum) -> Choice:
    if isinstance(member, Option):
        return Choice(str(member.value), member.record.title, help=member.record.help)
    return Choice(str(member.value), str(member.value))


def _bounds(constraints: list[Any], unit: str) -> Bounds:
    def shown(limit: Any) -> float:
        return to_255(limit) if unit == UNIT_255 else float(limit)

    found: dict[str, Any] = {}
    for constraint in constraints:
        match constraint:
            case Ge(ge=limit):
                found |= {"low": shown(limit)}
            case Gt(gt=limit):
                found |= {"low": shown(limit), "above": True}
            case Le(le=limit):
                found |= {"high": shown(limit)}
            case Lt(lt=limit):
                found |= {"high": shown(limit), "below": True}
    return Bounds(**found)
