"""Closed sets of values whose members say what they are: one record a member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True, kw_only=True)
class Record:
    """What people read of one choice."""

    title: str
    """As the field writes it: `APGD-CE`."""
    summary: str = ""
    """What it is, in a sentence; empty where the title says it."""
    source: str = ""
    """Where it was published; empty for the lab's own."""

    @property
    def help(self) -> str:
        """The sentence with its source: `One step of size ε (Goodfellow et al., ICLR 2015).`"""
        if not self.source:
            return self.summary
        return f"{self.summary.removesuffix('.')} ({self.source})."


def in_a_row(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(", ".join(names).rsplit(", ", 1))


class Option(StrEnum):
    """An enum of records: `PGD = "pgd", Record(title="PGD")`; `XYZ = "xyz"` is its own title.

    The schema of a parameter carries the records as `x-choices`, from which forms are made.
    """

    record: Record

    def __new__(cls, value: str, record: Record | None = None) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.record = record or Record(title=value.replace("_", " "))
        return member

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema)["x-choices"] = [
            {"value": m.value, "title": m.record.title, "help": m.record.help} for m in cls
        ]
        return schema
