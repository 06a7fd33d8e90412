"""A job's parameters as a person reads them: labels, units, names instead of ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.contracts.params import Params
from app.web.forms.conditions import SHOWN_WHEN
from app.web.forms.entries import entries_of
from app.web.forms.specs import Spec, specs


@dataclass(frozen=True)
class Named:
    """What an id stands for; `name` is outside text, `href` is empty for what is gone."""

    name: str
    href: str


@dataclass(frozen=True)
class Row:
    """One parameter."""

    label: str
    help: str
    values: tuple[Named, ...]
    """With their unit; several for a choice of several things."""
    changed: bool
    """Differs from the default."""


@dataclass(frozen=True)
class RowGroup:
    """Parameters under one heading, which the first group lacks."""

    title: str
    rows: tuple[Row, ...]


def readable(
    params: type[Params],
    values: Mapping[str, Any],
    names: Mapping[str, Named],
    *,
    without: Collection[str] = (),
) -> tuple[RowGroup, ...]:
    """Stored parameters for people, those that meant something; `names` knows the ids in them."""
    entries = entries_of(params, values)
    chosen = {spec.name: spec.default for spec in specs(params)} | entries
    shown_when = SHOWN_WHEN.get(params, {})
    groups: dict[str, list[Row]] = {}
    for spec in specs(params):
        when = shown_when.get(spec.name)
        meant = (when is None or when.met(chosen)) and spec.name not in without
        if meant and spec.name in entries and (entries[spec.name] or spec.widget == "check"):
            groups.setdefault(spec.group, []).append(_row(spec, entries, names))
    return tuple(RowGroup(title, tuple(rows)) for title, rows in groups.items())


def _row(spec: Spec, entries: Mapping[str, Sequence[str]], names: Mapping[str, Named]) -> Row:
    return Row(
        label=spec.label,
        help=spec.help,
        values=said(spec, entries[spec.name], names),
        changed=not spec.required and tuple(entries[spec.name]) != spec.default_among(entries),
    )


def said(
    spec: Spec, entries: Sequence[str], names: Mapping[str, Named] | None = None
) -> tuple[Named, ...]:
    """What was typed or chosen, in words; `names` are of the lab's things."""
    named = names or {}
    if spec.widget == "check":
        return (Named("on" if entries else "off", ""),)
    if spec.widget == "pairs":
        return tuple(Named(entry, "") for entry in entries)
    if spec.widget == "many" or (spec.widget == "select" and not spec.choices):
        labels = {choice.value: choice.label for choice in spec.choices}
        return tuple(named.get(e, Named(labels.get(e, e), "")) for e in entries)
    text = entries[0]
    if not text:
        return (Named("none", ""),)
    if spec.choices:
        text = next((choice.label for choice in spec.choices if choice.value == text), text)
    if spec.in_255:
        text = ", ".join(f"{entry}{spec.unit}" for entry in text.split(", "))
    elif spec.unit:
        text = f"{text} {spec.unit}"
    return (Named(text, ""),)
