"""What is wrong with a value: raised of a rule of the lab's, and read of pydantic's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError


def invalid(field: str, message: str) -> PydanticCustomError:
    """The error of a rule that spans several fields; it names the one to change."""
    return PydanticCustomError("invalid", "{message}", {"field": field, "message": message})


def message_of(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, without the name that it gives to a ValueError."""
    return str(error["msg"]).removeprefix("Value error, ")
