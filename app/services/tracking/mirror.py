"""Tells trackers of trainings and evaluations, epoch by epoch and of their end. Jobs and workers
know nothing of it.

A tracker says itself what it has already, so that nothing is kept here: a lab that starts again
asks once more about the jobs of the last week.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import Protocol

from app.contracts.jobs import JobStatus
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

    def follow(self, record: Record) -> None:
        """Write what is new of a job that runs. Raises where it cannot."""

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
        self._followed: dict[str, int] = {}
        """Points that were told of jobs that run."""
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
            self._follow()
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

    def _follow(self) -> None:
        """Tell of what runs, where more is known of it than before."""
        running = {
            job.id: job
            for job in job_queries.unfinished(self._lab.database)
            if job.kind in MIRRORED and job.status == JobStatus.RUNNING and job.deleted_at is None
        }
        self._followed = {id: told for id, told in self._followed.items() if id in running}
        for job_id, job in running.items():
            found, told = record(self._lab, job), self._followed.get(job_id, -1)
            if len(found.points) > told:
                self._tracker.follow(replace(found, points=found.points[max(0, told) :]))
                self._followed[job_id] = len(found.points)

    def _tell(self, job_id: str) -> None:
        self._refused[job_id] += 1
        job = job_queries.get(self._lab.database, job_id)
        if job is not None and not self._tracker.has(job_id):
            self._tracker.keep(record(self._lab, job))
        self._told.add(job_id)
        del self._refused[job_id]
