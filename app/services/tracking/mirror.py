"""Tells trackers of the trainings and evaluations that ended. Jobs and workers know nothing of it.

A tracker says itself what it has already, so that nothing is kept here: a lab that starts again
asks once more about the jobs of the last week.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Protocol

from app.services.lab import Lab
from app.services.tracking.record import MIRRORED, Record, record
from app.store import job_queries

_LOG = logging.getLogger("lab.tracking")
_WEEK_S = 7 * 24 * 3600.0
_LOOK_S = 5.0
_FIRST_S, _MOST_S = 5.0, 300.0
"""Waits after the first failure of a row, and after many."""


class Tracker(Protocol):
    name: str

    def has(self, job_id: str) -> bool:
        """Whether a whole record of a job is there. Raises where it cannot be asked."""

    def keep(self, record: Record) -> None:
        """Write a record that is not there, or not whole. Raises where it cannot."""

    def close(self) -> None: ...


def trackers(lab: Lab) -> list[Tracker]:
    """Those that the settings name. Each brings libraries along, so nobody else imports them."""
    found: list[Tracker] = []
    facts = lab.settings
    if facts.mlflow_url is not None:
        from app.services.tracking.mlflow import Mlflow

        url = str(facts.mlflow_url.get_secret_value())
        found.append(Mlflow(url, facts.mlflow_experiment))
    if facts.tensorboard_dir is not None:
        from app.services.tracking.tensorboard import TensorBoard

        found.append(TensorBoard(facts.tensorboard_dir))
    return found


class Mirror:
    """One tracker, told of one job after the other; what it does not take is told again."""

    def __init__(self, lab: Lab, tracker: Tracker) -> None:
        self._lab, self._tracker = lab, tracker
        self._told: set[str] = set()
        self._refused: Counter[str] = Counter()
        """How often a job was not taken: those go behind the others."""
        self._failures = 0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(await asyncio.to_thread(self.catch_up))
        finally:
            self._tracker.close()

    def catch_up(self) -> float:
        """Tell of every job that it has not heard of; returns after how many seconds to look
        again.
        """
        since = time.time() - _WEEK_S
        try:
            ended = job_queries.ended_since(self._lab.database, MIRRORED, since)
            self._told &= set(ended)
            due = (job_id for job_id in ended if job_id not in self._told)
            for job_id in sorted(due, key=self._refused.__getitem__):
                self._tell(job_id)
        except Exception as error:  # whatever a tracker, its network or its disk comes up with
            self._failures += 1
            if self._failures == 1:
                # Its text may name an address, and that may be a password.
                _LOG.warning(
                    "%s cannot be told (%s); the lab tries again.",
                    self._tracker.name, type(error).__name__,
                )  # fmt: skip
            return min(_MOST_S, _FIRST_S * 2.0 ** min(self._failures - 1, 10))
        if self._failures:
            _LOG.warning("%s is told again.", self._tracker.name)
        self._failures = 0
        return _LOOK_S

    def _tell(self, job_id: str) -> None:
        self._refused[job_id] += 1
        job = job_queries.get(self._lab.database, job_id)
        if job is not None and not self._tracker.has(job_id):
            self._tracker.keep(record(self._lab, job))
        self._told.add(job_id)
        del self._refused[job_id]
