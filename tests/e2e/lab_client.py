"""What a script does with the lab: send a job, follow it, fetch what it left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.plugins.lab_process import PATIENCE_S, LabProcess, wait_until

Json = dict[str, Any]
FINAL = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class Event:
    id: int
    kind: str
    data: Json


class LabClient:
    """A client of a running lab; `process` is the lab itself."""

    def __init__(self, process: LabProcess) -> None:
        self.process = process
        self.http = httpx.Client(base_url=process.url, timeout=PATIENCE_S)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def submit(self, kind: str, **params: Any) -> Json:
        """A training or an evaluation job."""
        return accepted(self.http.post("/api/jobs", json={"kind": kind, "params": params}))

    def job(self, job_id: str) -> Json:
        body: Json = self.get(f"/api/jobs/{job_id}")
        return body

    def wait(self, job_id: str) -> Json:
        """The job once it is over, in whatever way."""
        wait_until(lambda: self.job(job_id)["status"] in FINAL, f"the end of job {job_id}")
        return self.job(job_id)

    def result(self, job_id: str) -> Json:
        """What the job left. Fails unless it succeeded."""
        job = self.wait(job_id)
        assert job["status"] == "succeeded", job
        body: Json = self.get(f"/api/jobs/{job_id}/result")
        return body

    def events(self, job_id: str, *, after: int | None = None) -> Iterator[Event]:
        """The job's stream of events, from the start or after an event that was seen."""
        headers = {"Last-Event-ID": str(after)} if after is not None else {}
        with self.http.stream("GET", f"/api/jobs/{job_id}/events", headers=headers) as answer:
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                    fields = {}

    def wait_for(self, job_id: str, wanted: Callable[[Event], bool], what: str) -> Event:
        """The first event that is wanted. Fails when the job ends without it."""
        stream = self.events(job_id)
        try:
            for event in stream:
                if wanted(event):
                    return event
        finally:
            stream.close()  # type: ignore[attr-defined]
        raise AssertionError(f"the job ended without {what}: {self.job(job_id)}")

    def log(self, job_id: str) -> list[str]:
        return [event.data["text"] for event in self.events(job_id) if event.kind == "log"]


def accepted(answer: httpx.Response) -> Json:
    """The job that an answer speaks of."""
    assert answer.status_code == 202, (answer.status_code, answer.text)
    job: Json = answer.json()
    assert answer.headers["Location"] == f"/api/jobs/{job['id']}"
    return job


def after_epoch(number: int) -> Callable[[Event], bool]:
    """Whether an event says that the epoch was validated."""
    return lambda event: (
        event.kind == "metrics" and event.data["series"] == "epoch" and event.data["step"] == number
    )
