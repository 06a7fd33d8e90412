"""What people put on jobs, models and datasets: names, notes, tags, the archive and the bin.

Who may, and what it means, is not decided here. `table` is the row class of what is marked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    Update,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from app.contracts.changes import MAX_TAGS
from app.contracts.listings import Shelf
from app.store import acting
from app.store.db import Database
from app.store.measurements import note_latest, note_standing
from app.store.tables import (
    DatasetRow,
    JobRow,
    MeasurementRow,
    ModelRow,
    TagRow,
    UploadRow,
    UserRow,
)
from app.store.transitions import hold

Marked = type[JobRow] | type[ModelRow] | type[DatasetRow]


class TooManyTags(Exception):
    """One of the rows would have more tags than it may."""


class TakenMeanwhile(Exception):
    """Another transaction came first: a name is given already, or a tag."""


def change(
    database: Database,
    table: Marked,
    ids: Collection[str],
    values: dict[str, Any],
    *,
    tags: Sequence[str] | None = None,
    more_tags: Sequence[str] = (),
    fewer_tags: Sequence[str] = (),
) -> None:
    """Set columns of some rows, and their tags where any are given, in one transaction.

    `tags` takes the place of all that there are; `more_tags` are added, `fewer_tags` removed.
    Raises TooManyTags and TakenMeanwhile, and then changes nothing.
    """
    acting.concerns(*ids)
    unwanted = [_on(table), TagRow.id.in_(ids)]
    if tags is None:
        unwanted.append(TagRow.tag.in_(fewer_tags))
    try:
        with database.writing() as session:
            hold(session, table, table.id.in_(ids))
            if values:
                session.execute(update(table).where(table.id.in_(ids)).values(values))
            if "archived_at" in values:
                _note_standing(session, table, ids)
            if tags is not None or fewer_tags:
                session.execute(delete(TagRow).where(*unwanted))
            _add_tags(session, table, ids, [*(tags or ()), *more_tags])
    except IntegrityError as error:
        raise TakenMeanwhile from error


def _add_tags(session: Session, table: Marked, ids: Collection[str], tags: Iterable[str]) -> None:
    wanted = set(tags)
    if not wanted:
        return
    of_these = select(TagRow.id, TagRow.tag).where(_on(table), TagRow.id.in_(ids))
    held = {(id_, tag) for id_, tag in session.execute(of_these)}
    new = [(id_, tag) for id_ in ids for tag in sorted(wanted) if (id_, tag) not in held]
    if max(Counter(id_ for id_, _ in [*held, *new]).values(), default=0) > MAX_TAGS:
        raise TooManyTags
    if new:
        rows = [{"thing": table.__tablename__, "tag": tag, "id": id_} for id_, tag in new]
        session.execute(insert(TagRow), rows)


def _on(table: Marked) -> ColumnElement[bool]:
    return TagRow.thing == table.__tablename__


def tags_of(database: Database, table: Marked, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The tags of these rows in alphabetical order; those without any are left out."""
    if not ids:
        return {}
    query = select(TagRow.id, TagRow.tag).where(_on(table), TagRow.id.in_(ids)).order_by(TagRow.tag)
    found: dict[str, tuple[str, ...]] = {}
    with database.reading() as session:
        for id_, tag in session.execute(query):
            found[id_] = (*found.get(id_, ()), tag)
    return found


def all_tags(database: Database, table: Marked) -> list[str]:
    """Every tag that something in this table has, in alphabetical order."""
    query = select(TagRow.tag).where(_on(table)).distinct().order_by(TagRow.tag)
    with database.reading() as session:
        return list(session.scalars(query))


def tagged(table: Marked, tag: str) -> ColumnElement[bool]:
    """The condition that a row has this tag."""
    return table.id.in_(select(TagRow.id).where(_on(table), TagRow.tag == tag))


def on_shelf(table: Marked, shelf: Shelf) -> tuple[ColumnElement[bool], ...]:
    """The conditions that a row is kept there."""
    if shelf is Shelf.BIN:
        return (table.deleted_at.is_not(None),)
    archived = table.archived_at
    kept = archived.is_not(None) if shelf is Shelf.ARCHIVE else archived.is_(None)
    return table.deleted_at.is_(None), kept


def owners(database: Database, table: Marked, ids: Collection[str]) -> dict[str, str | None]:
    """The accounts that rows belong to: those that asked for the job, or for the one that it is a
    part of; of models and datasets, for the job that they came from."""
    query, _ = _with_owners(table, ids)
    with database.reading() as session:
        return dict(session.execute(query).tuples().all())


def owner_names(database: Database, table: Marked, ids: Collection[str]) -> dict[str, str]:
    """What these accounts are called; rows of nobody's, and of accounts that were removed, are left
    out."""
    query, owner = _with_owners(table, ids)
    named = query.join(UserRow, UserRow.id == owner).with_only_columns(table.id, UserRow.name)
    with database.reading() as session:
        return dict(session.execute(named).tuples().all())


def _with_owners(
    table: Marked, ids: Collection[str]
) -> tuple[Select[str, str], ColumnElement[Any]]:
    job, parent = aliased(JobRow), aliased(JobRow)
    owner = func.coalesce(job.owner_id, parent.owner_id)
    own = job.id == (table.id if issubclass(table, JobRow) else table.job_id)
    query = select(table.id, owner).join(job, own).outerjoin(parent, parent.id == job.parent_id)
    return query.where(table.id.in_(ids)), owner


def owned_by(table: Marked, name: str) -> tuple[ColumnElement[bool], ...]:
    """The condition that a row belongs to the account of this name; none without a name."""
    user = select(UserRow.id).where(UserRow.name == name).scalar_subquery()
    return (owned(table, user),) if name else ()


def owned(table: Marked, owner_id: str | ScalarSelect[str]) -> ColumnElement[bool]:
    """The condition that a row belongs to an account, as `owners` says it."""
    asked = select(JobRow.id).where(JobRow.owner_id == owner_id)
    parts = select(JobRow.id).where(JobRow.owner_id.is_(None), JobRow.parent_id.in_(asked))
    own = table.id if issubclass(table, JobRow) else table.job_id
    return own.in_(asked) | own.in_(parts)


def owned_ids(database: Database, owner_id: str) -> set[str]:
    """The jobs, models and datasets of an account, those in the bin too."""
    each = [select(of.id).where(owned(of, owner_id)) for of in (JobRow, ModelRow, DatasetRow)]
    with database.reading() as session:
        return set(session.scalars(union_all(*each)))


def sent_bytes(database: Database, owner_id: str, *, without: str = "") -> int:
    """Of all files that an account sent and that are still kept, but for the upload `without`."""
    kept = (UploadRow.owner_id == owner_id, UploadRow.id != without)
    with database.reading() as session:
        return session.scalar(select(func.sum(UploadRow.size_bytes)).where(*kept)) or 0


def put_in_bin(database: Database, table: Marked, ids: Collection[str]) -> float:
    """Move rows into the bin, all at the same time, which is returned."""
    now = time.time()
    acting.concerns(*ids)
    with database.writing() as session:
        outside = (table.id.in_(ids), table.deleted_at.is_(None))
        hold(session, table, *outside)
        session.execute(update(table).where(*outside).values(deleted_at=now))
        if issubclass(table, JobRow):
            note_latest(session, MeasurementRow.job_id.in_(ids))
        else:
            _note_standing(session, table, ids)
    return now


def _note_standing(session: Session, table: Marked, ids: Collection[str]) -> None:
    if issubclass(table, JobRow):
        note_standing(session, MeasurementRow.job_id.in_(ids))
    elif issubclass(table, ModelRow):
        note_standing(session, MeasurementRow.model_id.in_(ids))


def take_out_of_bin(database: Database, table: Marked, ids: Collection[str]) -> None:
    """A model or a dataset brings the job that it came from, and an ablation around that."""
    acting.concerns(*ids)
    with database.writing() as session:
        back: Any = ids
        if not issubclass(table, JobRow):
            origins = select(table.job_id).where(table.id.in_(ids))
            parents = select(JobRow.parent_id).where(JobRow.id.in_(origins))
            families = (JobRow.id.in_(parents), JobRow.parent_id.in_(parents))
            origin = or_(JobRow.id.in_(origins), *families)
            hold(session, JobRow, origin)
            session.execute(update(JobRow).where(origin).values(deleted_at=None))
            back = select(JobRow.id).where(origin)
        restored = table.id.in_(ids)
        if issubclass(table, ModelRow):  # with those of which `note_latest` tells anew
            measured = select(MeasurementRow.model_id).where(MeasurementRow.job_id.in_(back))
            hold(session, table, restored | table.id.in_(measured))
        else:
            hold(session, table, restored)
        session.execute(update(table).where(restored).values(deleted_at=None))
        note_latest(session, MeasurementRow.job_id.in_(back))
        _note_standing(session, table, ids)


def moved_at(database: Database, table: Marked, when: float) -> tuple[list[str], list[str]]:
    """The ids of what was moved into the bin at that very time, and into the archive."""
    binned = select(table.id).where(table.deleted_at == when)
    archived = select(table.id).where(table.archived_at == when, table.deleted_at.is_(None))
    with database.reading() as session:
        return list(session.scalars(binned)), list(session.scalars(archived))


def in_bin(database: Database, table: Marked) -> int:
    """How many there are in the bin."""
    query = select(func.count()).select_from(table).where(table.deleted_at.is_not(None))
    with database.reading() as session:
        return session.scalar(query) or 0


def empty_bin(
    database: Database,
    table: Marked,
    *conditions: ColumnElement[bool],
    older_than_s: float,
    then: Update | None = None,
) -> list[str]:
    """Forget, with their tags, rows that have been in the bin for so long; returns their ids.

    `then`: what changes in that transaction of the jobs that they came from.
    """
    due = (table.deleted_at < time.time() - older_than_s, *conditions)
    with database.reading() as session:
        if session.scalar(select(table.id).where(*due).limit(1)) is None:
            return []
    with database.writing() as session:
        # Asked again: one of them may have been restored meanwhile.
        if issubclass(table, ModelRow):
            origins = select(table.job_id).where(*due)
            hold(session, JobRow, JobRow.id.in_(origins))
        hold(session, table, *due)
        gone = list(session.scalars(delete(table).where(*due).returning(table.id)))
        session.execute(delete(TagRow).where(_on(table), TagRow.id.in_(gone)))
        if then is not None:
            session.execute(then)
    return gone
