"""What a person keeps of one thing, as its page takes it: name, note, tags, archive, pin."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.datastructures import FormData

from app.contracts.changes import Changes
from app.errors import InvalidFields

C = TypeVar("C", bound=Changes)


def changes(posted: FormData, kind: type[C]) -> C:
    """What the form says; a field that it lacks stays as it is. Raises InvalidFields."""
    values: dict[str, Any] = {name: str(value) for name, value in posted.items()}
    if "tags" in values:
        values["tags"] = [tag for tag in values["tags"].split(",") if tag.strip()]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InvalidFields.of(error) from None
