"""What people call models and datasets, and what the lab calls them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Protocol, TypeVar

from app.client.errors import LabError
from app.contracts.views import JobView

_ID = re.compile(r"[0-9a-f]{32}")
_START = re.compile(r"[0-9a-f]{1,32}")
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


def may_start_id(text: str) -> bool:
    return _START.fullmatch(text) is not None


def a_name(value: object, field: str) -> str:
    """What should be a name or an id, and may come from a file. Raises LabError."""
    if isinstance(value, str):
        return value
    raise LabError("Not a name", f"{value!r} is neither a name nor an id.", field=field)


def several_names(value: object, field: str) -> list[str]:
    """The same of one or more. Raises LabError."""
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [a_name(one, field) for one in many]


def the_one_named(name: str, found: Sequence[N], noun: str, others: Callable[[], Sequence[N]]) -> N:
    """The only one that was found by its name.

    Raises LabError, which names the candidates, or what `others` says there is instead.
    """
    if len(found) == 1:
        return found[0]
    if found:
        raise LabError(
            "Not a single one",
            f"{len(found)} {noun}s are named “{name}”.",
            hint=f"Use an id: {_listed([one.id for one in found])}.",
            field=noun,
        )
    raise LabError(
        "Not found",
        f"There is no {noun} named “{name}”.",
        hint=_instead(name, [one.name for one in others()], noun),
        field=noun,
    )


def the_one_starting(start: str, found: Sequence[JobView], total: int) -> JobView:
    """The only job that was found by the beginning of its id; `found`: the newest of `total`.

    Raises LabError, which names the candidates.
    """
    if total == 1:
        return found[0]
    candidates = _listed([f"{view.id} ({view.title})" for view in found])
    raise LabError(
        "Not a single one" if found else "Not found",
        f"{total or 'No'} jobs have an id that begins with {start!r}.",
        hint=f"Give more of it: {candidates}." if found else "See the list of jobs.",
        field="job",
    )


def _instead(name: str, there_are: Sequence[str], noun: str) -> str:
    if not there_are:
        return f"There are no {noun}s yet."
    near = get_close_matches(name, there_are, n=3)
    if near:
        return f"Did you mean {' or '.join(f'“{other}”' for other in near)}?"
    return f"There are: {_listed([f'“{other}”' for other in dict.fromkeys(there_are)])}."


def _listed(candidates: Sequence[str]) -> str:
    more = ", …" if len(candidates) > _LISTED else ""
    return ", ".join(candidates[:_LISTED]) + more
