"""All models in one table: sorted, searched, filtered, and many of them changed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import field_validator

from app.admission.routes import ByMethod
from app.contracts.attacks import VALIDATION_ATTACK, Method
from app.contracts.listings import ModelFilter, ModelOrder
from app.contracts.params import Id
from app.deps import LabDep
from app.errors import LabError
from app.services import listings
from app.services import models as kept_models
from app.services.lab import Lab
from app.services.listings import ModelLine
from app.web.pages import table_actions, tables
from app.web.pages.inputs import Posted
from app.web.pages.recipes import own_identity
from app.web.pages.tables import Column, TableView
from app.web.render import Context

PATH = "/models"
COLUMNS = (
    Column("recipe", "Recipe"),
    Column("architecture", "Architecture", sorts=False),
    Column("dataset", "Dataset"),
    Column("held_clean", "Held out, clean", numeric=True),
    Column("held_robust", f"Held out, {VALIDATION_ATTACK}", numeric=True),
    Column("clean", "Test, clean", numeric=True),
    Column("robust", "Test, robust", numeric=True),
    Column("autoattack", Method.AUTOATTACK.record.title, numeric=True, shown=False),
    Column("epochs", "Epochs", numeric=True, shown=False),
    Column("time", "Trained for", numeric=True, shown=False),
    Column("created", "Registered"),
)


class ModelQuery(tables.Query):
    """What an address says about the table of models."""

    sort: ModelOrder = ModelOrder.CREATED

    @field_validator("dataset")
    @classmethod
    def _is_a_checksum(cls, value: str) -> str:
        if value and len(value) != 64:
            raise ValueError("is no dataset")
        return value

    @property
    def filter(self) -> ModelFilter:
        return ModelFilter(
            text=self.q,
            tag=self.tag or "",
            owner=self.owner,
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
    identities: Mapping[str, str]
    """The style sheet's name of each model's colour."""


router = APIRouter(prefix=PATH, route_class=ByMethod)


@router.get("")
def all_models(lab: LabDep, request: Request) -> Response:
    return _page(lab, request, ModelQuery.of(request))


def _page(
    lab: Lab,
    request: Request,
    query: ModelQuery,
    *,
    refused: LabError | None = None,
    kept: Sequence[str] = (),
) -> Response:
    found = listings.model_lines(lab, query.filter, page=query.page, page_size=tables.PAGE_SIZE)
    view = tables.table_view(
        PATH,
        query,
        query.sort,
        columns=COLUMNS,
        filters=(),
        found=found,
        choices=listings.model_choices(lab),
        refused=refused,
        kept=kept,
    )
    context = ModelTableContext(
        table=view,
        lines=found.items,
        identities={line.model.id: own_identity(lab, line.model) for line in found.items},
    )
    return tables.answer(request, context, view, refused)


@router.post("/selected")
def selected(lab: LabDep, request: Request, posted: Posted) -> Response:
    """Do one thing with the chosen models, and go back to the view that they were chosen in."""
    query = ModelQuery.read(parse_qsl(str(posted.get("back", ""))))
    try:
        undo = table_actions.act(lab, table_actions.chosen(posted, "models"), kept_models)
    except LabError as refused:
        kept = [str(one) for one in posted.getlist("models")]
        return _page(lab, request, query, refused=refused, kept=kept)
    return table_actions.back_to(query, PATH, undo=undo)


@router.post("/undo")
def undo(lab: LabDep, posted: Posted) -> Response:
    """Take out of the bin or the archive what was just moved there."""
    query = ModelQuery.read(table_actions.with_time(posted))
    if query.undo is not None:
        kept_models.undo(lab, query.undo)
    return table_actions.back_to(query, PATH)


@router.get("/compare")
def compare(
    lab: LabDep,
    request: Request,
    models: Annotated[list[Id] | None, Query(max_length=tables.MOST_CHOSEN)] = None,
    back: str = "",
) -> Response:
    """To the comparison of the chosen models' latest evaluations; or back to the view that they
    were chosen in, with why there is none.
    """
    chosen = list(dict.fromkeys(models or []))
    try:
        found = listings.latest_evaluations(lab, chosen)
    except LabError as refused:
        query = ModelQuery.read(parse_qsl(back))
        return _page(lab, request, query, refused=refused, kept=chosen)
    return RedirectResponse(f"/compare?{urlencode({'job': found}, doseq=True)}", status_code=303)
