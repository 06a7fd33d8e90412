"""What people call models and datasets, and what the lab calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Protocol, TypeVar

from app.client.errors import LabError

_ID = re.compile(r"[0-9a-f]{32}")
_LISTED = 10


class Named(Protocol):
    """Something that has an id, and a name that people gave it."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def a_name(value: object, field: str) -> str:
    """What should be a name or an id, and may come from a file. Raises LabError."""
    if isinstance(value, str):
        return value
    raise LabError("Not a name", f"{value!r} is neither a name nor an id.", field=field)


def several_names(value: object, field: str) -> list[str]:
    """The same of one or more. Raises LabError."""
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [a_name(one, field) for one in many]


def the_one_named(name: str, among: Sequence[N], noun: str, field: str) -> N:
    """The only one of that name. Raises LabError, which says what there is instead."""
    found = [one for one in among if one.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise LabError(
            "Not a single one",
            f"{len(found)} {noun}s are named “{name}”.",
            hint=f"Use an id: {', '.join(one.id for one in found[:_LISTED])}.",
            field=field,
        )
    raise LabError(
        "Not found",
        f"There is no {noun} named “{name}”.",
        hint=_instead(name, [one.name for one in among], noun),
        field=field,
    )


def _instead(name: str, there_are: Sequence[str], noun: str) -> str:
    if not there_are:
        return f"There are no {noun}s yet."
    near = get_close_matches(name, there_are, n=3)
    if near:
        return f"Did you mean {' or '.join(f'“{other}”' for other in near)}?"
    distinct = list(dict.fromkeys(there_are))
    more = ", …" if len(distinct) > _LISTED else ""
    return f"There are: {', '.join(f'“{other}”' for other in distinct[:_LISTED])}{more}."
