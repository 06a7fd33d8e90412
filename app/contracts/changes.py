"""What may be changed about a job, a model or a dataset once it is there."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from app.contracts.params import Name
from app.contracts.placement import Priority

MAX_TAGS = 20
_LONGEST_TAG = 40


def _tag(value: str) -> str:
    if not value.isprintable() or "," in value:
        raise ValueError("must not contain commas, line breaks or control characters")
    tag = " ".join(value.split())
    if len(tag) > _LONGEST_TAG:  # a small letter may take more room than its capital
        raise ValueError(f"must have at most {_LONGEST_TAG} characters")
    return tag


def _lines(value: object) -> object:
    """Line breaks as forms of browsers send them become those that are stored."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def _prose(value: str) -> str:
    if not all(letter.isprintable() or letter in "\n\t" for letter in value):
        raise ValueError("must not contain control characters")
    return value


Tag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=_LONGEST_TAG),
    AfterValidator(_tag),
]
"""A word by which things are found again; small letters, no comma."""
Tags = Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)]
Note = Annotated[
    str,
    BeforeValidator(_lines),
    StringConstraints(strip_whitespace=True, max_length=2000),
    AfterValidator(_prose),
]


class Changes(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name | None = Field(None, description="What it is called in lists and charts.")
    note: Note | None = Field(None, description="In your own words; empty for none.")
    tags: Tags | None = Field(None, description="All of its tags, in place of those it has.")
    archived: bool | None = Field(None, description="Whether lists leave it out.")


class JobChanges(Changes):
    """What to change about a job; what is left out stays."""

    name: Name | Annotated[str, StringConstraints(max_length=0)] | None = Field(
        None, description="What it is called in lists; empty: by what it does."
    )
    pinned: bool | None = Field(None, description="Whether it is shown before others.")
    priority: Priority | None = Field(
        None, description="Before which others it runs; an ablation's is that of its jobs."
    )
