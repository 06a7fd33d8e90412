"""Registered models: list, look, download, delete with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.contracts.results import ModelCard
from app.contracts.views import ModelView, Page
from app.errors import Conflict, NotFound
from app.services import jobs
from app.services.lab import Lab
from app.store import catalogue
from app.store.tables import ModelRow


def page(
    lab: Lab,
    *,
    deleted: bool = False,
    name: str | None = None,
    page: int = 1,
    page_size: int = 100,
) -> Page[ModelView]:
    """Models, newest first; or those in the bin. `name`: only those that are called so."""
    first = (page - 1) * page_size
    rows, total = catalogue.models(
        lab.database, deleted=deleted, name=name, offset=first, limit=page_size
    )
    items = tuple(_view(row) for row in rows)
    return Page[ModelView](items=items, total=total, page=page, page_size=page_size)


def search(lab: Lab, text: str, *, limit: int) -> tuple[ModelView, ...]:
    """Models, newest first, with `text` in their name or at the start of their id."""
    return tuple(_view(row) for row in catalogue.models_like(lab.database, text, limit=limit))


def get(lab: Lab, model_id: str) -> ModelView:
    """One model. Raises NotFound."""
    return _view(_row(lab, model_id))


def by_id(lab: Lab, ids: Sequence[str]) -> dict[str, ModelView]:
    """The registered models among `ids`, in one query."""
    rows = catalogue.models_by_id(lab.database, ids)
    return {model_id: _view(row) for model_id, row in rows.items()}


def _row(lab: Lab, model_id: str, *, deleted: bool = False) -> ModelRow:
    row = catalogue.model(lab.database, model_id, deleted=deleted)
    if row is None:
        raise NotFound("There is no such model.", hint="See the models page.")
    return row


def weights(lab: Lab, model_id: str) -> tuple[ModelView, Path]:
    """The safetensors file. Raises NotFound."""
    view = get(lab, model_id)
    path = lab.files.weights(model_id)
    if not path.exists():
        raise NotFound("The model's file is gone from the data folder.", hint="Train it again.")
    return view, path


def delete(lab: Lab, model_id: str) -> None:
    """Move a model into the bin. Raises NotFound, and Conflict while a job needs it."""
    _row(lab, model_id)
    job = jobs.uses_model(lab, model_id)
    if job is not None:
        raise Conflict(
            f"The unfinished job “{job.title}” needs this model.",
            hint="Cancel the job, or wait for its end.",
        )
    catalogue.set_model_deleted(lab.database, model_id, deleted=True)


def restore(lab: Lab, model_id: str) -> ModelView:
    """Take a model out of the bin. Raises NotFound."""
    _row(lab, model_id, deleted=True)
    catalogue.set_model_deleted(lab.database, model_id, deleted=False)
    return get(lab, model_id)


def _view(row: ModelRow) -> ModelView:
    return ModelView(
        id=row.id,
        name=row.name,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        job=row.job_id,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        card=ModelCard.model_validate(row.card),
    )
