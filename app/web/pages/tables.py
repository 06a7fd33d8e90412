"""What tables of many things share: a view has an address, columns are chosen, headers sort."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.contracts.changes import Tag
from app.contracts.listings import Shelf
from app.contracts.params import Recipe
from app.contracts.views import Page
from app.errors import LabError
from app.services.listings import Choices
from app.web.render import Context, render

PAGE_SIZE = 25
_NARROWED = "listing"
"""The id of the part that changes when a table is narrowed."""
MOST_CHOSEN = 100
"""Rows that one action may be about."""


@dataclass(frozen=True)
class Column:
    """A column that a table may have, beside the name, which it always has."""

    key: str
    label: str
    numeric: bool = False
    shown: bool = True
    """Whether it is there when nobody has chosen."""
    sorts: bool = True


@dataclass(frozen=True)
class Header:
    """The head of a shown column."""

    key: str
    label: str
    numeric: bool
    href: str
    """Sorts by it, or the other way round; empty where it does not sort."""
    sorted: Literal["", "ascending", "descending"]


@dataclass(frozen=True)
class Option:
    """A choice of a filter, or a column that may be shown."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class Filter:
    """A choice by which a table is narrowed; its first option is all."""

    name: str
    label: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class TableView:
    """A page of a table, apart from its rows."""

    path: str
    address: str
    """Of this very view."""
    search: str
    """What was looked for; outside text."""
    sort: tuple[tuple[str, str], ...]
    """Fields that keep the order while filters change."""
    headers: tuple[Header, ...]
    filters: tuple[Filter, ...]
    columns: tuple[Option, ...]
    shelves: tuple[tuple[str, str, bool], ...]
    """Label, address and whether it is this one: the list, the archive, the bin."""
    shelf: Shelf
    narrowed: bool
    """Whether anything is looked for or filtered."""
    tags: tuple[str, ...]
    """All that are in use, to choose from."""
    total: int
    page: int
    pages: int
    newer: str
    """Address of the page before; empty on the first."""
    older: str
    undo: str
    """When rows were just moved into the bin or the archive; empty where none were."""
    problem: str
    """Why the last action was refused; may quote outside text."""
    chosen: frozenset[str]
    """The rows that it was about, by id."""


class Query(BaseModel):
    """What an address says about a table. Fields that are empty are left out of the address."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    q: str = Field("", max_length=200)
    tag: Tag | None = None
    owner: str = Field("", max_length=40)
    dataset: str = Field("", max_length=64)
    recipe: Recipe | None = None
    shelf: Shelf = Shelf.LIST
    order: Literal["asc", "desc"] = "desc"
    col: tuple[str, ...] = Field((), max_length=30)
    page: int = Field(1, ge=1, le=1_000_000)
    undo: float | None = Field(None, ge=0, allow_inf_nan=False)

    @field_validator("dataset")
    @classmethod
    def _is_hexadecimal(cls, value: str) -> str:
        if set(value) - set("0123456789abcdef"):
            raise ValueError("is no dataset")
        return value

    @classmethod
    def of(cls, request: Request) -> Self:
        return cls.read(request.query_params.multi_items())

    @classmethod
    def read(cls, items: Sequence[tuple[str, str]]) -> Self:
        """From the fields of a form or an address; empty ones say nothing, nor do those that mean
        nothing: the page shows by what it is narrowed.
        """
        values: dict[str, Any] = {name: value for name, value in items if value and name != "col"}
        values["col"] = tuple(value for name, value in items if name == "col")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            wrong = {one["loc"][0] for one in error.errors()}
            return cls.model_validate({k: v for k, v in values.items() if k not in wrong})

    def address(self, path: str, **changes: Any) -> str:
        """Of the same view with something changed, on its first page unless told otherwise."""
        values = self.model_dump() | {"page": 1, "undo": None} | changes
        said = type(self).model_validate(values).model_dump(mode="json", exclude_defaults=True)
        return f"{path}?{urlencode(said, doseq=True)}" if said else path


def columns_of(query: Query, columns: Sequence[Column]) -> list[Column]:
    """Those to be shown, in the table's order."""
    return [
        column for column in columns if (column.key in query.col if query.col else column.shown)
    ]


def headers(path: str, query: Query, sort: str, columns: Sequence[Column]) -> tuple[Header, ...]:
    """Of the name and of the shown columns."""
    return tuple(
        _header(path, query, sort, column)
        for column in (Column("name", "Name"), *columns_of(query, columns))
    )


def _header(path: str, query: Query, sort: str, column: Column) -> Header:
    current = column.key == sort
    first = "desc" if column.numeric or column.key == "created" else "asc"
    other = "asc" if query.order == "desc" else "desc"
    return Header(
        key=column.key,
        label=column.label,
        numeric=column.numeric,
        href=query.address(path, sort=column.key, order=other if current else first)
        if column.sorts
        else "",
        sorted=("descending" if query.order == "desc" else "ascending") if current else "",
    )


def one_of(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str | None) -> Filter:
    """A filter by one of these values and what they are called; a chosen one is never missing."""
    values = {value for value, _ in options}
    absent = [(chosen, chosen[:8])] if chosen and chosen not in values else []
    every = [("", "All"), *absent, *options]
    return Filter(
        name, label, tuple(Option(value, text, value == (chosen or "")) for value, text in every)
    )


def table_view(
    path: str,
    query: Query,
    sort: str,
    *,
    columns: Sequence[Column],
    filters: Sequence[Filter],
    found: Page[Any],
    choices: Choices,
    refused: LabError | None,
    kept: Collection[str],
) -> TableView:
    """`filters`: those of this table alone, before those that every one has. `kept`: rows that stay
    chosen, where an action was refused.
    """
    if choices.owners:
        columns = (*columns[:-1], Column("owner", "Owner", sorts=False), columns[-1])
        names = [(name, name) for name in choices.owners]
        filters = (*filters, one_of("owner", "Owner", names, query.owner))
    shown = {column.key for column in columns_of(query, columns)}
    labels = {Shelf.LIST: "List", Shelf.ARCHIVE: "Archive", Shelf.BIN: f"Bin ({choices.binned:,})"}
    every = (
        *filters,
        one_of("recipe", "Recipe", [(r, r.record.title) for r in Recipe], query.recipe),
        one_of("dataset", "Dataset", choices.datasets, query.dataset),
        one_of("tag", "Tag", [(tag, tag) for tag in choices.tags], query.tag),
    )
    return TableView(
        path=path,
        address=query.address(path, page=query.page),
        search=query.q,
        sort=(("sort", sort), ("order", query.order)),
        headers=headers(path, query, sort, columns),
        filters=every,
        columns=tuple(Option(c.key, c.label, c.key in shown) for c in columns),
        shelves=tuple(
            (label, query.address(path, shelf=shelf), shelf is query.shelf)
            for shelf, label in labels.items()
        ),
        shelf=query.shelf,
        narrowed=bool(query.q) or any(not each.options[0].chosen for each in every),
        tags=choices.tags,
        total=found.total,
        page=found.page,
        pages=found.pages,
        newer=query.address(path, page=query.page - 1) if query.page > 1 else "",
        older=query.address(path, page=query.page + 1) if query.page < found.pages else "",
        undo="" if query.undo is None else repr(query.undo),
        problem="" if refused is None else f"{refused.detail} {refused.hint}".strip(),
        chosen=frozenset(kept),
    )


def answer(
    request: Request, context: Context, view: TableView, refused: LabError | None
) -> Response:
    """The page; whoever narrows it is told the address that reproduces it.

    Rows that are fetched anew while a job runs are no other view.
    """
    response = render(request, context, status=200 if refused is None else refused.status)
    if request.headers.get("hx-target") == _NARROWED:
        response.headers["HX-Push-Url"] = view.address
    return response
