"""How each parameter is shown: read from the JSON schema that the API publishes of its job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter

from app.contracts.params import DefaultBy, Id, Params
from app.contracts.units import to_255
from app.web.forms.terms import help_on

UNIT_255 = "/255"
_ID_PATTERN = TypeAdapter(Id).json_schema()["pattern"]
Schema = Mapping[str, Any]

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
    default_by: DefaultBy | None = None
    """What decides the default, typed; an empty entry stands for it."""
    switches: bool = False
    """Off, it makes all parameters None whose names begin with its own and a dot."""
    more: str = ""
    """Page and anchor of the help that says more; empty where there is no need."""
    nothing: str = ""
    """What an empty entry is called among choices."""

    def default_among(self, entries: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The default, given what is chosen elsewhere in the form."""
        by = self.default_by
        chosen = next(iter(entries.get(by.field, ())), "") if by else ""
        return (str(by.values[chosen]),) if by and chosen in by.values else self.default

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
    schema = params.model_json_schema()
    found = _specs(schema, schema.get("$defs", {}), "", {})
    return tuple(replace(spec, more=help_on(params, spec.name)) for spec in found)


def _specs(model: Schema, known: Schema, prefix: str, given: Schema) -> Iterator[Spec]:
    """`known`: the schemas that others refer to. `given`: defaults that come from the owner."""
    for name, declared in model["properties"].items():
        field, optional = _resolved(declared, known)
        if name in given:
            field |= {"default": given[name]}
        label = field.get("title") or name
        if "properties" in field:
            default = field.get("default") or {}
            if optional:
                yield _switch(prefix + name, label, field, on=bool(default))
            for spec in _specs(field, known, f"{prefix}{name}.", default):
                yield replace(spec, group=spec.group or label)
        else:
            yield _spec(prefix + name, label, field, known, optional)


def _resolved(declared: Schema, known: Schema) -> tuple[dict[str, Any], bool]:
    """A schema with what it refers to written out, and whether null is allowed.

    Of several forms of a value the first counts, which is the one that answers have.
    """
    field = dict(declared)
    forms = field.pop("anyOf", [])
    optional = {"type": "null"} in forms
    kind: Schema = next((form for form in forms if form != {"type": "null"}), {})
    reference = field.pop("$ref", None) or kind.get("$ref")
    referred = known[reference.removeprefix("#/$defs/")] if reference else kind
    return {**referred, **field}, optional


def _switch(name: str, label: str, field: Schema, *, on: bool) -> Spec:
    return Spec(
        name=name, label=label, help=field["description"], unit="", group=label, widget="check",
        number="", optional=False, required=False, default=typed(on, "", "check"),
        bounds=Bounds(), choices=(), pattern="", max_length=None, switches=True,
    )  # fmt: skip


def _spec(name: str, label: str, field: Schema, known: Schema, optional: bool) -> Spec:
    widget, number = _widget(field, known)
    default, by = typed(field.get("default"), field["unit"], widget), field.get("x-default-by")
    if by is not None and "." in name:  # what decides is not in this form
        default = ()
    return Spec(
        name=name,
        label=label,
        help=field["description"],
        unit=field["unit"],
        group=field["group"],
        widget=widget,
        number=number,
        optional=optional,
        required="default" not in field,
        default=default,
        bounds=_bounds(field),
        choices=_choices(field, known),
        pattern=field.get("pattern", ""),
        max_length=field.get("maxLength"),
        default_by=None if by is None else _typed_by(by, field["unit"], widget),
        nothing=field.get("nothing", "None"),
    )


def _typed_by(by: Schema, unit: str, widget: Widget) -> DefaultBy:
    """What decides a default, with the defaults as they are typed."""
    shown = {chosen: typed(value, unit, widget)[0] for chosen, value in by["values"].items()}
    return DefaultBy(by["field"], shown)


_NUMBERS: Mapping[str, Literal["int", "float"]] = {"integer": "int", "number": "float"}


def _widget(field: Schema, known: Schema) -> tuple[Widget, Literal["", "int", "float"]]:
    if "enum" in field:
        return "select", ""
    match field["type"]:
        case "array":
            entry, _ = _resolved(field.get("items") or field["prefixItems"][0], known)
            number = _NUMBERS.get(entry["type"])
            return ("list", number) if number else ("many", "")
        case "object":
            return "pairs", ""
        case "boolean":
            return "check", ""
        case "string":
            chosen = field.get("pattern") == _ID_PATTERN or "nothing" in field
            return ("select" if chosen else "text"), ""
        case number:
            return "number", _NUMBERS[number]


def _choices(field: Schema, known: Schema) -> tuple[Choice, ...]:
    """Of a closed set of values, those in `only` where it names any."""
    several = field.get("items") or field.get("propertyNames")
    closed = _resolved(several, known)[0] if several else field
    told = closed.get("x-choices") or [{"value": value} for value in closed.get("enum", ())]
    return tuple(
        Choice(str(one["value"]), one.get("title", str(one["value"])), help=one.get("help", ""))
        for one in told
        if not field["only"] or one["value"] in field["only"]
    )


def _bounds(field: Schema) -> Bounds:
    def shown(limit: float | None) -> float | None:
        return to_255(limit) if limit is not None and field["unit"] == UNIT_255 else limit

    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    return Bounds(
        low=shown(low if above is None else above),
        high=shown(high if below is None else below),
        above=above is not None,
        below=below is not None,
    )
