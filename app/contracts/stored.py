"""What the lab keeps for long: another version of it may have written it, in another form."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)

UNREAD_PARAMS = "Its parameters are of an earlier version of the lab, and are not read any more."


def understood(kind: type[M], stored: Any) -> M | None:
    """What was stored; None where it is not of this form."""
    try:
        return kind.model_validate(stored)
    except ValidationError:
        return None


def understood_json(kind: type[M], stored: bytes) -> M | None:
    """The same of what was stored as JSON."""
    try:
        return kind.model_validate_json(stored)
    except ValidationError:
        return None
