"""`python -m worker.obituary JOB FENCE HOW`: give back the job of a worker's child that is gone.

Where that fails, the lease runs out and the reconciler does so, without knowing how it went.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from app.settings import settings
from app.store import job_queries, losses
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost
from app.store.losses import Loss


def main(job_id: str, fence: str, how: str) -> None:
    database = Database(settings().sql_url, patience_s=60.0)
    row = job_queries.get(database, job_id)
    if row is not None:
        claim = Claim.of(row, int(fence))
        with suppress(LeaseLost):
            losses.give_up(database, claim, Loss.of_worker(how))
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
