"""What is done with the chosen rows of a table, and the way back to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import parse_qsl

from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import FormData

from app.contracts.changes import Changes, Tag
from app.contracts.params import Id
from app.errors import InvalidFields, InvalidInput
from app.services.lab import Lab
from app.web.pages.tables import MOST_CHOSEN, Query


class Action(StrEnum):
    """What can be done with the chosen rows."""

    CANCEL = "cancel"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    TAG = "tag"
    UNTAG = "untag"
    DELETE = "delete"
    RESTORE = "restore"


class Chosen(BaseModel):
    """Which rows, and what is to be done with them."""

    ids: tuple[Id, ...] = Field(min_length=1, max_length=MOST_CHOSEN)
    action: Action
    tag: Tag | None = None
    """What is to be added or removed, where that is to be done."""

    @property
    def tags(self) -> tuple[str, ...]:
        return () if self.tag is None else (self.tag,)


class Keeping(Protocol):
    """What a service does with things of one kind that lists show."""

    def change(
        self,
        lab: Lab,
        ids: Sequence[str],
        changes: Changes,
        /,
        *,
        more_tags: Sequence[str] = (),
        fewer_tags: Sequence[str] = (),
    ) -> object: ...

    def archive(self, lab: Lab, /, *ids: str) -> float: ...

    def delete(self, lab: Lab, /, *ids: str) -> float: ...

    def restore(self, lab: Lab, /, *ids: str) -> object: ...


def act(
    lab: Lab,
    chosen: Chosen,
    service: Keeping,
    cancel: Callable[[Lab, Sequence[str]], None] | None = None,
) -> float | None:
    """Returns when the rows went into the bin or the archive, where they did. Raises LabError."""
    match chosen.action:
        case Action.DELETE:
            return service.delete(lab, *chosen.ids)
        case Action.RESTORE:
            service.restore(lab, *chosen.ids)
        case Action.ARCHIVE:
            return service.archive(lab, *chosen.ids)
        case Action.UNARCHIVE:
            service.change(lab, chosen.ids, Changes(archived=False))
        case Action.TAG:
            service.change(lab, chosen.ids, Changes(), more_tags=chosen.tags)
        case Action.UNTAG:
            service.change(lab, chosen.ids, Changes(), fewer_tags=chosen.tags)
        case Action.CANCEL:
            if cancel is None:
                raise InvalidInput("A model does not run.", field="action")
            cancel(lab, chosen.ids)
    return None


def chosen(posted: FormData, field: str) -> Chosen:
    """From the form around a table. Raises InvalidInput."""
    ids = list(dict.fromkeys(str(value) for value in posted.getlist(field)))
    if not ids:
        raise InvalidInput("Nothing is chosen.", hint="Tick at least one row.")
    values: Mapping[str, Any] = {
        "ids": ids,
        "action": posted.get("action"),
        "tag": posted.get("tag") or None,
    }
    try:
        found = Chosen.model_validate(values)
    except ValidationError as error:
        wrong = InvalidFields.of(error)
        if any(name == "tag" for name, _ in wrong.errors):
            raise wrong from None
        raise InvalidInput(
            f"This is no choice of up to {MOST_CHOSEN} rows.", hint="Load the page again."
        ) from None
    if found.action in (Action.TAG, Action.UNTAG) and not found.tag:
        raise InvalidInput("There is no tag to add or remove.", hint="Type one beside the button.")
    return found


def with_time(posted: FormData) -> list[tuple[str, str]]:
    """The view to go back to, and the time at which its rows were moved."""
    return [*parse_qsl(str(posted.get("back", ""))), ("undo", str(posted.get("at", "")))]


def back_to(query: Query, path: str, *, undo: float | None = None) -> Response:
    """To the view from which an action came."""
    return RedirectResponse(query.address(path, page=query.page, undo=undo), status_code=303)
