"""A client of the served lab, and the end of a worker in the tests' hands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from app.client import Lab
from app.contracts.events import Event
from app.contracts.jobs import JobStatus
from app.services.lab import Lab as Service
from app.store import jobs
from tests.plugins.stock import stock_dataset


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, sooner."""
    monkeypatch.setattr("app.client.transport._WAITS_S", (0.02, 0.05, 0.1))


@pytest.fixture
def api(web: str) -> Iterator[Lab]:
    with Lab(web) as opened:
        yield opened


@pytest.fixture
def dataset(lab: Service) -> str:
    """Its name is Pets."""
    return stock_dataset(lab)


@dataclass(frozen=True)
class Worker:
    """Runs one job as a worker does: reports events, and ends it."""

    lab: Service
    claim: jobs.Claim

    @classmethod
    def take(cls, lab: Service, job_id: str) -> Worker:
        claim = jobs.claim(lab.database, job_id, lease_s=600)
        assert claim is not None
        return cls(lab, claim)

    def report(self, *events: Event) -> None:
        jobs.report(self.lab.database, self.claim, events)
        self.lab.broker.ring(self.claim.job_id)

    def succeed(self, result: BaseModel) -> None:
        file = self.lab.files.write_result(self.claim.job_id, result)
        jobs.settle(self.lab.database, self.claim, JobStatus.SUCCEEDED, result_file=file)
        self.lab.broker.ring(self.claim.job_id)

    def fail(self, detail: str, hint: str) -> None:
        failure = {"title": "The job failed", "detail": detail, "hint": hint}
        jobs.settle(self.lab.database, self.claim, JobStatus.FAILED, failure=failure)
        self.lab.broker.ring(self.claim.job_id)
