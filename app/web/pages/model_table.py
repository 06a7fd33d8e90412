"""All models in one table: sorted, searched, filtered, and many of them changed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.contracts.changes import Changes
from app.contracts.listings import ModelFilter, ModelOrder
from app.contracts.params import Recipe
from app.deps import LabDep
from app.errors import InvalidInput, LabError
from app.services import listings, models
from app.services.lab import Lab
from app.services.listings import ModelLine
from app.web.pages import tables
from app.web.pages.inputs import Posted
from app.web.pages.tables import Action, Column, TableView
from app.web.render import Context

PATH = "/models"
COLUMNS = (
    Column("recipe", "Recipe"),
    Column("architecture", "Architecture", sorts=False),
    Column("dataset", "Dataset"),
    Column("held_clean", "Held out, clean", numeric=True),
    Column("held_robust", "Held out, PGD-10", numeric=True),
    Column("clean", "Test, clean", numeric=True),
    Column("robust", "Test, robust", numeric=True),
    Column("autoattack", "AutoAttack", numeric=True, shown=False),
    Column("epochs", "Epochs", numeric=True, shown=False),
    Column("time", "Trained for", numeric=True, shown=False),
    Column("created", "Registered"),
)


class ModelQuery(tables.Query):
    """What an address says about the table of models."""

    sort: ModelOrder = ModelOrder.CREATED

    @property
    def filter(self) -> ModelFilter:
        return ModelFilter(
            text=self.q,
            tag=self.tag or "",
            dataset=self.dataset,
            recipe=self.recipe,
            shelf=self.shelf,
            order=self.sort,
            falling=self.order == "desc",
        )


@dataclass(frozen=True)
class ModelTableContext(Context):
    """A page of models."""

    template: ClassVar[str] = "models.html"

    table: TableView
    """How it is sorted and filtered."""
    lines: tuple[ModelLine, ...]
    """Its rows."""


router = APIRouter(prefix=PATH)


@router.get("")
def all_models(lab: LabDep, request: Request) -> Response:
    return _page(lab, request, ModelQuery.of(request))


def _page(
    lab: Lab, request: Request, query: ModelQuery, *, refused: LabError | None = None
) -> Response:
    found = listings.model_lines(lab, query.filter, page=query.page, page_size=tables.PAGE_SIZE)
    choices = listings.model_choices(lab)
    filters = (
        tables.one_of("recipe", "Recipe", [(r, r.record.title) for r in Recipe], query.recipe),
        tables.one_of("dataset", "Dataset", choices.datasets, query.dataset),
        tables.one_of("tag", "Tag", [(tag, tag) for tag in choices.tags], query.tag),
    )
    view = tables.table_view(
        PATH,
        query,
        query.sort,
        columns=COLUMNS,
        filters=filters,
        found=found,
        tags=choices.tags,
        binned=choices.binned,
        problem=f"{refused.detail} {refused.hint}".strip() if refused else "",
    )
    context = ModelTableContext(table=view, lines=found.items)
    return tables.answer(request, context, view, status=refused.status if refused else 200)


@router.post("/selected")
def selected(lab: LabDep, request: Request, posted: Posted) -> Response:
    """Do one thing with the chosen models, and go back to the view that they were chosen in."""
    query = ModelQuery.read(parse_qsl(str(posted.get("back", ""))))
    try:
        undo = _act(lab, tables.chosen(posted, "models"))
    except LabError as refused:
        return _page(lab, request, query, refused=refused)
    return tables.back_to(query, PATH, undo=undo)


def _act(lab: Lab, chosen: tables.Chosen) -> float | None:
    """Returns when the models went into the bin, where they did. Raises LabError."""
    match chosen.action:
        case Action.DELETE:
            return models.delete(lab, *chosen.ids)
        case Action.RESTORE:
            models.restore(lab, *chosen.ids)
        case Action.ARCHIVE | Action.UNARCHIVE:
            archived = chosen.action is Action.ARCHIVE
            models.change(lab, chosen.ids, Changes(archived=archived))
        case Action.TAG:
            models.change(lab, chosen.ids, Changes(), more_tags=chosen.tags)
        case Action.UNTAG:
            models.change(lab, chosen.ids, Changes(), fewer_tags=chosen.tags)
        case Action.CANCEL:
            raise InvalidInput("A model does not run.", field="action")
    return None


@router.post("/undo")
def undo(lab: LabDep, posted: Posted) -> Response:
    """Take out of the bin what was just moved there."""
    query = ModelQuery.read(tables.with_time(posted))
    if query.undo is not None:
        models.restore_all(lab, query.undo)
    return tables.back_to(query, PATH)
