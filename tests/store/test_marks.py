"""Names, notes, tags and the bin, on rows of every kind."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select, text, update

from app.store import job_queries, jobs, marks
from app.store.db import Database
from app.store.tables import JobRow, TagRow
from tests.plugins.rows import job_row
from tests.plugins.statements import statements

WEEK = 7 * 24 * 3600.0


def three(database: Database) -> list[str]:
    rows = [job_row() for _ in range(3)]
    for row in rows:
        jobs.add(database, row)
    return [row.id for row in rows]


def test_tags_are_set_or_added_in_few_statements_however_many_there_are(database: Database) -> None:
    ids = three(database)
    marks.change(database, JobRow, ids[:1], {}, tags=["old", "paper"])
    with statements() as said:
        marks.change(database, JobRow, ids, {"note": "seen"}, more_tags=["paper", "good"])
    asked = [statement for statement in said if not statement.startswith("BEGIN")]
    assert len(asked) == 4  # hold, note, look, insert
    found = marks.tags_of(database, JobRow, ids)
    assert found == {ids[0]: ("good", "old", "paper"), **dict.fromkeys(ids[1:], ("good", "paper"))}
    marks.change(database, JobRow, ids[:1], {}, tags=[])
    assert ids[0] not in marks.tags_of(database, JobRow, ids)
    assert marks.all_tags(database, JobRow) == ["good", "paper"]


@pytest.mark.sqlite
def test_what_has_a_tag_is_found_by_an_index(database: Database) -> None:
    ids = three(database)
    marks.change(database, JobRow, ids[:2], {}, tags=["paper"])
    query = select(JobRow.id).where(marks.tagged(JobRow, "paper"))
    with database.reading() as session:
        assert set(session.scalars(query)) == set(ids[:2])
        sql = str(query.compile(compile_kwargs={"literal_binds": True}))
        plan = [str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]
    assert not [step for step in plan if "SCAN" in step], plan


def test_the_bin_is_emptied_with_the_events_and_tags_of_what_is_old(database: Database) -> None:
    old, young, kept = three(database)
    marks.change(database, JobRow, [old, young, kept], {}, tags=["paper"])
    marks.put_in_bin(database, JobRow, [old, young])
    assert marks.in_bin(database, JobRow) == 2
    assert job_queries.page(database, offset=0, limit=9)[1] == 1
    with database.writing() as session:
        long_ago = update(JobRow).where(JobRow.id == old)
        session.execute(long_ago.values(deleted_at=time.time() - WEEK))
    assert marks.empty_bin(database, JobRow, older_than_s=WEEK - 60) == [old]
    assert job_queries.events_after(database, old, 0) == []
    assert job_queries.events_after(database, young, 0) != []
    with database.reading() as session:
        assert set(session.scalars(select(TagRow.id))) == {young, kept}


def test_what_was_deleted_together_is_restored_together(database: Database) -> None:
    one, *others = three(database)
    marks.put_in_bin(database, JobRow, [one])
    when = marks.put_in_bin(database, JobRow, [one, *others])  # the first keeps its own time
    binned, archived = marks.moved_at(database, JobRow, when)
    assert set(binned) == set(others)
    assert not archived
    marks.take_out_of_bin(database, JobRow, others)
    assert marks.in_bin(database, JobRow) == 1
