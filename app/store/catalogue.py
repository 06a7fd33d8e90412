"""Datasets, models and uploads: rows that name complete files."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, select, true, update

from app.contracts.jobs import JobKind
from app.contracts.listings import Shelf
from app.contracts.recipes import TEACHERS
from app.contracts.results import Lineage
from app.store import marks
from app.store.db import Database
from app.store.paging import page_of, rows_of
from app.store.tables import DatasetRow, JobRow, ModelRow, UploadRow
from app.store.transitions import touched

is_best = ModelRow.kept == "best"
"""Whether a model is the best epoch of its training."""
_is_own = func.coalesce(ModelRow.origin, "trained") != "shipped"
"""Whether a model did not come with the lab."""


def datasets(
    database: Database, *, deleted: bool = False, name: str | None = None
) -> list[DatasetRow]:
    """All datasets, newest first, or those in the bin; or the one of that name."""
    gone = DatasetRow.deleted_at.is_not(None)
    query = select(DatasetRow).where(gone if deleted else ~gone)
    if name is not None:
        query = query.where(DatasetRow.name == name)
    with database.reading() as session:
        return list(session.scalars(query.order_by(DatasetRow.created_at.desc())))


def datasets_page(
    database: Database, shelf: Shelf, owner: str = "", *, offset: int, limit: int
) -> tuple[list[DatasetRow], int]:
    """Datasets on a shelf, all or those of the account of a name, newest first, and how many there
    are."""
    kept = (*marks.on_shelf(DatasetRow, shelf), *marks.owned_by(DatasetRow, owner))
    newest = (DatasetRow.created_at.desc(), DatasetRow.id.desc())
    found = select(DatasetRow).where(*kept)
    return page_of(database, DatasetRow, found, newest, offset=offset, limit=limit)


def datasets_of_size(database: Database, image_size: int) -> list[DatasetRow]:
    """Datasets on the list with images of so many pixels a side, newest first."""
    sized = DatasetRow.report["image_size"].as_integer() == image_size
    query = select(DatasetRow).where(sized, *marks.on_shelf(DatasetRow, Shelf.LIST))
    with database.reading() as session:
        newest = query.order_by(DatasetRow.created_at.desc(), DatasetRow.id.desc())
        return list(session.scalars(newest))


def datasets_like(database: Database, text: str, *, limit: int) -> list[DatasetRow]:
    """Datasets, newest first, with `text` in their name or at the start of their id."""
    like = DatasetRow.name.icontains(text, autoescape=True)
    like |= DatasetRow.id.startswith(text.lower(), autoescape=True)
    query = select(DatasetRow).where(like, DatasetRow.deleted_at.is_(None))
    with database.reading() as session:
        newest = query.order_by(DatasetRow.created_at.desc()).limit(limit)
        return list(session.scalars(newest))


def datasets_by_id(database: Database, ids: Collection[str]) -> dict[str, DatasetRow]:
    """The datasets among `ids` that are not in the bin, in one query."""
    query = select(DatasetRow).where(DatasetRow.id.in_(ids), DatasetRow.deleted_at.is_(None))
    with database.reading() as session:
        return {row.id: row for row in session.scalars(query)}


def dataset(database: Database, dataset_id: str, *, deleted: bool = False) -> DatasetRow | None:
    """A dataset; one in the bin only when `deleted`."""
    with database.reading() as session:
        row = session.get(DatasetRow, dataset_id)
    return row if row is not None and (row.deleted_at is not None) == deleted else None


def dataset_names_like(database: Database, start: str) -> set[str]:
    """The names that begin so, also of datasets in the bin."""
    query = select(DatasetRow.name).where(DatasetRow.name.startswith(start, autoescape=True))
    with database.reading() as session:
        return set(session.scalars(query))


def dataset_of(database: Database, sha256: str) -> DatasetRow | None:
    """A dataset with this checksum that is not in the bin, whatever it is called."""
    same = (DatasetRow.checksum == sha256, DatasetRow.deleted_at.is_(None))
    query = select(DatasetRow).where(*same).order_by(DatasetRow.created_at.desc())
    with database.reading() as session:
        return session.scalar(query.limit(1))


def dataset_named(database: Database, name: str) -> DatasetRow | None:
    """The dataset of that name, also where it is in the bin: names are given once."""
    with database.reading() as session:
        return session.scalars(select(DatasetRow).where(DatasetRow.name == name)).one_or_none()


def models(
    database: Database,
    *,
    deleted: bool = False,
    archived: bool = True,
    name: str | None = None,
    tag: str | None = None,
    offset: int = 0,
    limit: int = 1000,
) -> tuple[list[ModelRow], int]:
    """Registered models, newest first, and how many there are; or those in the bin.

    `archived`: whether those in the archive are listed, too. `name`: only those that are called
    exactly so. `tag`: only those that have it.
    """
    gone = ModelRow.deleted_at.is_not(None)
    query = select(ModelRow).where(gone if deleted else ~gone)
    if not archived:
        query = query.where(ModelRow.archived_at.is_(None))
    if name is not None:
        query = query.where(ModelRow.name == name)
    if tag is not None:
        query = query.where(marks.tagged(ModelRow, tag))
    newest = (ModelRow.created_at.desc(), ModelRow.id.desc())
    return page_of(database, ModelRow, query, newest, offset=offset, limit=limit)


def models_like(database: Database, text: str, *, limit: int) -> list[ModelRow]:
    """Registered models, newest first, with `text` in their name or at the start of their id."""
    like = ModelRow.name.icontains(text, autoescape=True)
    like |= ModelRow.id.startswith(text.lower(), autoescape=True)
    query = select(ModelRow).where(like, ModelRow.deleted_at.is_(None))
    with database.reading() as session:
        newest = query.order_by(ModelRow.created_at.desc(), ModelRow.id.desc())
        return list(session.scalars(newest.limit(limit)))


def teachers(database: Database, *, limit: int) -> list[ModelRow]:
    """Clean models on the list: the lab's own before those that came with it, and of each the most
    accurate on held-out images first.
    """
    kept = (ModelRow.recipe.in_(TEACHERS), *marks.on_shelf(ModelRow, Shelf.LIST))
    accurate = (ModelRow.clean.is_(None), ModelRow.clean.desc())
    newest = (ModelRow.created_at.desc(), ModelRow.id.desc())
    query = select(ModelRow.id).where(*kept).order_by(_is_own.desc(), *accurate, *newest)
    with database.reading() as session:
        return rows_of(session, ModelRow, query.limit(limit))


def best_epochs(
    database: Database,
    recipes: Collection[str],
    *,
    image_size: int | None = None,
    first: str = "",
    limit: int,
) -> list[ModelRow]:
    """Best epochs of trainings with these recipes, of those on the list: the one of the id `first`,
    then those that came with the lab, whose cards have test figures, then the newest.
    """
    kept = [is_best, ModelRow.recipe.in_(recipes), *marks.on_shelf(ModelRow, Shelf.LIST)]
    if image_size is not None:
        kept.append(ModelRow.image_size == image_size)
    query = select(ModelRow.id).where(*kept)
    query = query.order_by(ModelRow.created_at.desc(), ModelRow.id.desc()).limit(limit)
    # One after the other: those that came with the lab are few, and found by an index.
    brought = select(ModelRow.id).where(ModelRow.job_id.is_(None))
    ranks = (ModelRow.id == first, ModelRow.id.in_(brought), true())
    with database.reading() as session:
        found = {
            row.id: row for rank in ranks for row in rows_of(session, ModelRow, query.where(rank))
        }
    return list(found.values())[:limit]


def model(database: Database, model_id: str, *, deleted: bool = False) -> ModelRow | None:
    """A registered model; one in the bin only when `deleted`."""
    with database.reading() as session:
        row = session.get(ModelRow, model_id)
    return row if row is not None and (row.deleted_at is not None) == deleted else None


def models_by_id(
    database: Database, ids: Sequence[str], *, deleted: bool = False
) -> dict[str, ModelRow]:
    """The registered models among `ids`, or those in the bin, in one query."""
    gone = ModelRow.deleted_at.is_not(None)
    query = select(ModelRow).where(ModelRow.id.in_(ids), gone if deleted else ~gone)
    with database.reading() as session:
        return {row.id: row for row in session.scalars(query)}


def counts(database: Database) -> tuple[int, int]:
    """How many models and datasets there are that are not in the bin."""
    models, datasets = (
        select(func.count(table.id)).where(table.deleted_at.is_(None)).scalar_subquery()
        for table in (ModelRow, DatasetRow)
    )
    with database.reading() as session:
        return session.execute(select(models, datasets)).one()._tuple()


def checksums(database: Database, lineages: Collection[Lineage]) -> dict[str, str]:
    """Checksums by id of the datasets and models that these may be: of the same id, or the same
    checksum. Those in the bin are left out; newer ones come first.
    """
    ids, sums = {one.id for one in lineages}, {one.sha256 for one in lineages}
    found: dict[str, str] = {}
    with database.reading() as session:
        for table, sha256 in ((DatasetRow, DatasetRow.checksum), (ModelRow, ModelRow.sha256)):
            query = (
                select(table.id, sha256)
                .where(table.id.in_(ids) | sha256.in_(sums), table.deleted_at.is_(None))
                .order_by(table.created_at.desc())
            )
            found |= {id_: sha for id_, sha in session.execute(query) if sha is not None}
    return found


def best_models(database: Database, parent: str) -> dict[str, ModelRow]:
    """The best models of a parent's trainings, by training, in one query."""
    best = best_of(select(JobRow.id).where(JobRow.parent_id == parent))
    with database.reading() as session:
        rows = session.scalars(select(ModelRow).where(*best)).all()
    return {row.job_id: row for row in rows if row.job_id is not None}


def best_of(trainings: Any) -> tuple[Any, ...]:
    """What is true of the best model of each training while it is not in the bin.

    Args:
        trainings: Their ids, or the query of these.
    """
    return (
        ModelRow.job_id.in_(trainings),
        ModelRow.deleted_at.is_(None),
        is_best,
    )


def drop_binned_models(database: Database, *, older_than_s: float) -> list[str]:
    """Forget models that have been in the bin for so long; returns their ids. Lists sort their
    trainings by no figure that they do not show.

    Those that came with the lab stay in the bin: without their rows the next start would take
    them for new ones.
    """
    left = select(ModelRow.job_id).where(is_best, ModelRow.job_id.is_not(None))
    without = (JobRow.kind == JobKind.TRAIN, JobRow.clean.is_not(None), JobRow.id.not_in(left))
    unsorted = update(JobRow).where(*without).values(clean=None, robust=None)
    return marks.empty_bin(database, ModelRow, _is_own, older_than_s=older_than_s, then=unsorted)


def students_of(database: Database, model_id: str) -> int:
    """How many models that are not in the bin learned from this one."""
    query = select(func.count()).where(
        ModelRow.teacher_id == model_id, ModelRow.deleted_at.is_(None)
    )
    with database.reading() as session:
        return session.scalar(query) or 0


def trained_on(database: Database, dataset_id: str) -> int:
    """How many models that are not in the bin were trained on this dataset."""
    query = select(func.count()).where(
        ModelRow.dataset_id == dataset_id, ModelRow.deleted_at.is_(None)
    )
    with database.reading() as session:
        return session.scalar(query) or 0


def left_by(database: Database, job_ids: Collection[str]) -> ModelRow | DatasetRow | None:
    """A model or a dataset that one of these jobs left and that is not in the bin."""
    models = select(ModelRow).where(ModelRow.job_id.in_(job_ids), ModelRow.deleted_at.is_(None))
    datasets = select(DatasetRow).where(
        DatasetRow.job_id.in_(job_ids), DatasetRow.deleted_at.is_(None)
    )
    with database.reading() as session:
        return session.scalar(models.limit(1)) or session.scalar(datasets.limit(1))


def names(database: Database, ids: Collection[str]) -> dict[str, str]:
    """What the datasets, models and uploads among `ids` are called; what is gone is left out."""
    called = (
        select(DatasetRow.id, DatasetRow.name).where(DatasetRow.id.in_(ids)),
        select(ModelRow.id, ModelRow.name).where(ModelRow.id.in_(ids)),
        select(UploadRow.id, UploadRow.filename).where(UploadRow.id.in_(ids)),
    )
    with database.reading() as session:
        return {id_: name for query in called for id_, name in session.execute(query)}


def add_upload(database: Database, row: UploadRow) -> None:
    with database.writing() as session:
        session.add(row)


def upload(database: Database, upload_id: str) -> UploadRow | None:
    with database.reading() as session:
        return session.get(UploadRow, upload_id)


def keep_upload(database: Database, upload_id: str) -> bool:
    """Begin the time anew after which it is dropped; False where it is gone."""
    statement = update(UploadRow).where(UploadRow.id == upload_id)
    with database.writing() as session:
        return touched(session, statement.values(created_at=time.time()))


def drop_upload(database: Database, upload_id: str) -> None:
    with database.writing() as session:
        session.execute(delete(UploadRow).where(UploadRow.id == upload_id))


def named_files(database: Database) -> dict[str, set[str]]:
    """By folder of the data folder, what files there are called that rows name, without suffix."""
    columns = {
        "uploads": UploadRow.id,
        "datasets": DatasetRow.id,
        "models": ModelRow.id,
        "results": JobRow.result_name,
        "adversarial": JobRow.result_name,
        "checkpoints": JobRow.id,
    }
    with database.reading() as session:
        return {folder: set(session.scalars(select(of))) for folder, of in columns.items()}


def drop_uploads(database: Database, *, older_than_s: float, keep: Collection[str]) -> list[str]:
    """Forget uploads that are so old and that no unfinished job needs; returns their ids."""
    old = UploadRow.created_at < time.time() - older_than_s
    with database.reading() as session:
        found = set(session.scalars(select(UploadRow.id).where(old))) - set(keep)
    if not found:
        return []
    with database.writing() as session:
        # Asked again: a new job may have taken one meanwhile.
        unwanted = delete(UploadRow).where(UploadRow.id.in_(found), old)
        return sorted(session.scalars(unwanted.returning(UploadRow.id)))
