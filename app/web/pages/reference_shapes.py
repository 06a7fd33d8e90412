"""What the parts of an OpenAPI document say, in words: types, fields, examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.contracts.units import format_255

Schema = Mapping[str, Any]

_LIMITS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most",
    "exclusiveMaximum": "below", "minItems": "at least", "maxItems": "at most",
    "maxLength": "at most",
}  # fmt: skip
_UNITS = {"minItems": " entries", "maxItems": " entries", "maxLength": " characters"}
_NULL = {"type": "null"}


@dataclass(frozen=True)
class Word:
    """A piece of a type's description."""

    text: str
    shape: str = ""
    """The shape that it names, if it is one."""


@dataclass(frozen=True)
class Field:
    """A parameter, or a part of a shape."""

    name: str
    place: str
    """Of a parameter: path, query or header; empty for a part of a body."""
    kind: tuple[Word, ...]
    required: bool
    help: str
    facts: str
    """Default and limits."""


@dataclass(frozen=True)
class Shape:
    """One named schema."""

    name: str
    help: str
    fields: tuple[Field, ...]
    values: tuple[tuple[str, str], ...]
    """Of a closed set: each value and what it means."""


def kind(schema: Schema) -> tuple[Word, ...]:
    """`array of`, `JobView`; forms of a value are joined by `or`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return (Word(name, name),)
    forms = schema.get("anyOf") or schema.get("oneOf")
    if forms:
        joined: list[Word] = []
        for form in forms:
            joined += [Word("or"), *kind(form)] if joined else kind(form)
        return tuple(joined)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return (Word(" or ".join(json.dumps(value) for value in values)),)
    if "contentMediaType" in schema or schema.get("format") == "binary":
        return (Word("file"),)
    if schema.get("type") == "array":
        return (Word("array of"), *kind(schema.get("items") or schema["prefixItems"][0]))
    if isinstance(schema.get("additionalProperties"), Mapping):
        return (Word("object with values"), *kind(schema["additionalProperties"]))
    return (Word(str(schema.get("format") or schema.get("type") or "any JSON")),)


def field(
    name: str, schema: Schema, *, required: bool, place: str = "", nullable: bool = True
) -> Field:
    """`nullable`: whether null can be sent; in a form or an address it is left out."""
    said = kind(schema)
    if not nullable and said[-2:] == (Word("or"), Word("null")):
        said = said[:-2]
    return Field(name, place, said, required, schema.get("description", ""), _facts(schema))


def _facts(schema: Schema) -> str:
    """`Default 10, at least 1, at most 1,000`."""
    forms = [form for form in schema.get("anyOf", ()) if form != _NULL]
    limited = {**(forms[0] if len(forms) == 1 else {}), **schema}
    said = [
        f"{word} {_number(limited[limit])}{_UNITS.get(limit, '')}"
        for limit, word in _LIMITS.items()
        if limit in limited
    ]
    if schema.get("default") not in (None, "", []):
        said.insert(0, f"default {_default(schema)}")
    text = ", ".join(said)
    return text[:1].upper() + text[1:]


def _default(schema: Schema) -> str:
    value = schema["default"]
    if schema.get("unit") == "/255" and isinstance(value, float):
        return format_255(value)
    return json.dumps(value, ensure_ascii=False)


def _number(limit: float) -> str:
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def fields(schema: Schema, *, nullable: bool = True) -> tuple[Field, ...]:
    """The parts of an object, in order."""
    needed = schema.get("required", ())
    return tuple(
        field(name, part, required=name in needed, nullable=nullable)
        for name, part in schema.get("properties", {}).items()
    )


def shape(name: str, schema: Schema) -> Shape:
    told = schema.get("x-choices") or [{"value": value} for value in schema.get("enum", ())]
    values = tuple((str(one["value"]), one.get("help") or one.get("title", "")) for one in told)
    return Shape(name, schema.get("description", ""), fields(schema), values)


def resolved(schema: Schema, shapes: Mapping[str, Schema]) -> Schema:
    """A schema with its reference followed; of several forms the first."""
    while True:
        if "$ref" in schema:
            schema = shapes[str(schema["$ref"]).rpartition("/")[2]]
        elif forms := schema.get("anyOf") or schema.get("oneOf"):
            schema = forms[0]
        else:
            return schema


def example(schema: Schema, shapes: Mapping[str, Schema]) -> Any:
    """The least that fits, to be filled in: what must be given, else the first part."""
    schema = resolved(schema, shapes)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return dict(_parts(schema, shapes))
        case "array":
            return [example(schema["items"], shapes)] if "items" in schema else []
        case "integer" | "number":
            return schema.get("default", schema.get("minimum", 0))
        case "boolean":
            return True
        case _:
            return "ID" if "pattern" in schema else "…"


def _parts(schema: Schema, shapes: Mapping[str, Schema]) -> Iterator[tuple[str, Any]]:
    parts = schema.get("properties", {})
    fixed = [name for name, part in parts.items() if "const" in part]
    for name in schema.get("required") or list(parts)[:1]:
        fixed = [one for one in fixed if one != name]
        yield name, example(parts[name], shapes)
    for name in fixed:
        yield name, parts[name]["const"]
