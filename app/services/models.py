"""Registered models: list, look, download, delete with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.contracts.changes import Changes
from app.contracts.results import ModelCard
from app.contracts.views import ModelView, Page
from app.errors import Conflict, NotFound
from app.services import changing, jobs, ownership
from app.services.changing import utc_or_none
from app.services.lab import Lab
from app.store import catalogue, marks
from app.store.tables import ModelRow

_Views = Page[ModelView]


def page(
    lab: Lab,
    *,
    deleted: bool = False,
    archived: bool = True,
    name: str | None = None,
    tag: str | None = None,
    page: int = 1,
    page_size: int = 100,
) -> Page[ModelView]:
    """Models, newest first; or those in the bin. `name`: only those that are called so.

    `archived`: whether those in the archive are listed, too. `tag`: only those that have it.
    """
    first = (page - 1) * page_size
    rows, total = catalogue.models(
        lab.database,
        deleted=deleted,
        archived=archived,
        name=name,
        tag=tag,
        offset=first,
        limit=page_size,
    )
    items = tuple(views(lab, rows))
    return _Views(items=items, total=total, page=page, page_size=page_size)


def search(lab: Lab, text: str, *, limit: int) -> tuple[ModelView, ...]:
    """Models, newest first, with `text` in their name or at the start of their id."""
    return tuple(views(lab, catalogue.models_like(lab.database, text, limit=limit)))


def teachers(lab: Lab, *, limit: int) -> list[ModelView]:
    """Clean models: the lab's own before those that came with it, the most accurate first."""
    return views(lab, catalogue.teachers(lab.database, limit=limit))


def get(lab: Lab, model_id: str) -> ModelView:
    """One model. Raises NotFound."""
    (view,) = views(lab, [_row(lab, model_id)])
    return view


def by_id(lab: Lab, ids: Sequence[str]) -> dict[str, ModelView]:
    """The registered models among `ids`, in one query."""
    rows = catalogue.models_by_id(lab.database, ids)
    return {view.id: view for view in views(lab, list(rows.values()))}


def _row(lab: Lab, model_id: str) -> ModelRow:
    row = catalogue.model(lab.database, model_id)
    if row is None:
        raise NotFound("There is no such model.", hint="See the models page.")
    return row


def weights(lab: Lab, model_id: str) -> tuple[ModelView, Path]:
    """The safetensors file; of a black box its ONNX file, or how it is asked. Raises NotFound."""
    view = get(lab, model_id)
    path = lab.files.here(lab.files.weights(model_id, view.card.held))
    if not path.exists():
        raise NotFound("The model's file is gone.", hint="Train it again.")
    return view, path


def change(
    lab: Lab,
    model_ids: Sequence[str],
    changes: Changes,
    *,
    more_tags: Sequence[str] = (),
    fewer_tags: Sequence[str] = (),
) -> None:
    """Change these models alike; of the tags that each has, some become more or fewer.

    Raises NotFound, and what `changing.change` raises.
    """
    _check_held(lab, model_ids)
    changing.change(lab, ModelRow, model_ids, changes, more_tags=more_tags, fewer_tags=fewer_tags)


def _check_held(lab: Lab, model_ids: Sequence[str], *, deleted: bool = False) -> None:
    found = catalogue.models_by_id(lab.database, model_ids, deleted=deleted)
    if found.keys() < set(model_ids):
        raise NotFound("There is no such model.", hint="See the models page.")


def archive(lab: Lab, *model_ids: str) -> float:
    """Move models into the archive; returns the time by which `undo` knows them.

    Raises NotFound.
    """
    _check_held(lab, model_ids)
    return changing.archive(lab, ModelRow, model_ids)


def delete(lab: Lab, *model_ids: str) -> float:
    """Move models into the bin, all or none of them.

    Returns the time by which `undo` knows them. Raises NotFound, and Conflict while a job
    needs one.
    """
    _check_held(lab, model_ids)
    ownership.check(lab, ModelRow, model_ids)
    job = jobs.using(lab, model_ids)
    if job is not None:
        raise Conflict(
            f"The unfinished job “{job.title}” needs this model.",
            hint="Cancel the job, or wait for its end.",
        )
    return marks.put_in_bin(lab.database, ModelRow, model_ids)


def students_of(lab: Lab, model_id: str) -> int:
    """How many models learned from this one; deleting it breaks none of them."""
    return catalogue.students_of(lab.database, model_id)


def restore(lab: Lab, *model_ids: str) -> None:
    """Take models out of the bin, all or none of them. Raises NotFound."""
    _check_held(lab, model_ids, deleted=True)
    ownership.check(lab, ModelRow, model_ids)
    marks.take_out_of_bin(lab.database, ModelRow, model_ids)


def undo(lab: Lab, when: float) -> int:
    """Take back what one call of `delete` or `archive` did; returns to how many models."""
    return changing.undo(lab, ModelRow, when)


def views(lab: Lab, rows: Sequence[ModelRow]) -> list[ModelView]:
    """What the lab says of these rows, in their order."""
    tags = marks.tags_of(lab.database, ModelRow, [row.id for row in rows])
    owners = ownership.names(lab, ModelRow, [row.id for row in rows])
    return [_view(row, tags.get(row.id, ()), owners.get(row.id)) for row in rows]


def _view(row: ModelRow, tags: tuple[str, ...], owner: str | None) -> ModelView:
    return ModelView(
        id=row.id,
        name=row.name,
        note=row.note,
        tags=tags,
        archived_at=utc_or_none(row.archived_at),
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        job=row.job_id,
        owner=owner,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        card=ModelCard.model_validate(row.card),
    )
