"""Long lists are read from their beginning, in an index: a page takes no longer than a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.contracts.listings import JobFilter, JobOrder, ModelFilter, ModelOrder
from app.store import listings, measurements
from app.store.db import Database
from app.store.measurements import Threat

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
