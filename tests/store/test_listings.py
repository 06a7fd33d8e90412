"""Long lists are read from their beginning, in an index: a page takes no longer than a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.contracts.jobs import JobKind
from app.contracts.listings import JobFilter, JobOrder, ModelFilter, ModelOrder
from app.contracts.params import ImportParams
from app.store import jobs, listings, marks, measurements
from app.store.db import Database
from app.store.measurements import Threat
from app.store.tables import JobRow, ModelRow

THREAT = Threat("0" * 64, "linf", 0.1, "untargeted")
Ask = Callable[[Database], object]


def jobs_by(order: JobOrder) -> Ask:
    return lambda held: listings.jobs(held, JobFilter(order=order), offset=0, limit=50)


def models_by(order: ModelOrder) -> Ask:
    return lambda held: listings.models(held, ModelFilter(order=order), offset=0, limit=50)


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (jobs_by(JobOrder.CLEAN), "jobs_by_clean"),
        (jobs_by(JobOrder.ROBUST), "jobs_by_robust"),
        (jobs_by(JobOrder.AUTOATTACK), "jobs_by_autoattack"),
        (models_by(ModelOrder.CLEAN), "models_by_measured_clean"),
        (models_by(ModelOrder.ROBUST), "models_by_measured_robust"),
        (models_by(ModelOrder.AUTOATTACK), "models_by_measured_autoattack"),
        (measurements.threats, "measurements_on_board"),
        (
            lambda held: measurements.under(held, THREAT, recipe=None, every=False, limit=9),
            "measurements_on_board",
        ),
    ],
)
def test_an_index_has_the_order_of_the_list(database: Database, ask: Ask, index: str) -> None:
    plans: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith("SELECT"):
            # There is nothing in the tables, and so nothing to gain by an index: it is asked for.
            for way in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
            cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        ask(database)
    finally:
        event.remove(Engine, "before_cursor_execute", explain)
    found = [plan for plan in plans if f"using {index} " in plan]
    assert found
    assert "_by_" not in index or any("Sort" not in plan for plan in found)


def test_a_search_reads_title_name_and_note(database: Database) -> None:
    for number, (title, name, note) in enumerate(SEARCHED):
        row = jobs.queued(JobKind.IMPORT, title, ImportParams(name=f"Shapes {number}"))
        row.name, row.note, row.created_at = name, note, float(number)
        jobs.add(database, row)

    def titles(text: str, offset: int = 0, limit: int = 9) -> tuple[list[str], int]:
        asked = JobFilter(text=text)
        rows, total = listings.jobs(database, asked, offset=offset, limit=limit)
        return [row.title for row in rows], total

    assert titles("STUDENT") == (["c", "b", "a student"], 3)
    assert titles("student", limit=1) == (["c"], 3)
    assert titles("student", offset=2) == (["a student"], 3)
    assert titles("student", offset=7) == ([], 3)  # beyond the end; there are three all the same
    assert titles("teacher") == ([], 0)
    assert titles("50%") == (["d"], 1)
    assert titles("_x") == (["d"], 1)
    assert titles("a/b") == (["e"], 1)
    assert titles("tb") == ([], 0)  # the end of one text and the beginning of the next
    assert titles("NEEDLE_%") == (["h"], 1)
    assert titles("hay") == (["h", "g"], 2)
    assert titles("needle", offset=1) == ([], 1)


def test_a_search_of_models_reads_name_and_note(database: Database) -> None:
    with database.writing() as session:
        for number, (_, name, note) in enumerate(SEARCHED):
            session.add(
                ModelRow(id=f"{number}" * 32, name=name, note=note, created_at=float(number),
                         sha256="0" * 64, size_bytes=1, card={})
            )  # fmt: skip

    def found(text: str) -> list[str]:
        rows, total = listings.models(database, ModelFilter(text=text), offset=0, limit=9)
        assert total == len(rows)
        return [row.id[0] for row in rows]

    assert found("STUDENT") == ["2", "1"]
    assert found("50%") == ["3"]
    assert found("NEEDLE_%") == ["7"]
    assert found("444") == ["4"]


def test_a_search_finds_what_a_text_has_become(database: Database) -> None:
    row = jobs.queued(JobKind.IMPORT, "Import", ImportParams(name="Shapes"))
    jobs.add(database, row)
    for note, words in (("Of Cats", "CATS"), (LONG + "Dogs", "dogs"), ("of birds", "BIRDS")):
        marks.change(database, JobRow, [row.id], {"note": note})
        for text in ("cats", "dogs", "birds"):
            asked = JobFilter(text=text)
            _, total = listings.jobs(database, asked, offset=0, limit=9)
            assert total == (text == words.lower())


LONG = "hay" + "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(1900))
"""Of three bytes each."""
SEARCHED = (
    ("a student", "", ""),
    ("b", "The Student", ""),
    ("c", "", "of a student, at night"),
    ("d", "50% of_x", ""),
    ("e", "", "folder a/b"),
    ("f", "50 of x", "a or b"),
    ("g", "", LONG),
    ("h", "", LONG + " Needle_%"),
)
"""Title, name and note of jobs, the oldest first."""
