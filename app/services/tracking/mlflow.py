"""Records as runs of an MLflow server, by its REST API (mlflow.org/docs/latest/rest-api.html).

Which jobs it has is asked of the server itself: a run has its job's id as a tag, and one that is
still open there is written again, which adds nothing that it has.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import httpx

from app.contracts.jobs import JobStatus
from app.services.tracking.record import Point, Record

# It writes every address that it asks into its log, and this one may be a password.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")

_API = "api/2.0/mlflow/"
_STATUS = {
    JobStatus.SUCCEEDED: "FINISHED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "KILLED",
}
_METRICS, _PARAMS = 1000, 100
"""The most that one request takes."""
_LONGEST = 250
_ANSWER_S = 30.0


class Mlflow:
    """One server. Raises httpx.HTTPError, and KeyError where it is no MLflow."""

    name = "MLflow"

    def __init__(self, url: str, experiment: str) -> None:
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/{_API}", timeout=_ANSWER_S)
        self._experiment = experiment

    def has(self, job_id: str) -> bool:
        """Whether the server has a run of the job that was ended."""
        found = self._found(self._experiment_id(), job_id)
        return found is not None and found["status"] != "RUNNING"

    def follow(self, record: Record) -> None:
        """Write a record to the run of a job that goes on."""
        self._written(record)

    def keep(self, record: Record) -> None:
        """Write a record as a run, or to its run that is still open, and end that."""
        assert record.ended is not None
        run, ended = self._written(record), round(1000 * record.ended)
        self._post("runs/update", run_id=run, status=_STATUS[record.status], end_time=ended)

    def _written(self, record: Record) -> str:
        """The run's id."""
        experiment = self._experiment_id()
        found = self._found(experiment, record.id)
        run = self._created(experiment, record) if found is None else found["run_id"]
        params = [
            {"key": _key(name), "value": value[:500]} for name, value in record.params.items()
        ]
        for some in _parts(params, _PARAMS):
            self._post("runs/log-batch", run_id=run, params=some)
        for points in _parts(record.points, _METRICS):
            self._post("runs/log-batch", run_id=run, metrics=[_metric(p) for p in points])
        return run

    def close(self) -> None:
        self._http.close()

    def _experiment_id(self) -> str:
        named = {"experiment_name": self._experiment}
        answer = self._http.get("experiments/get-by-name", params=named)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return str(self._post("experiments/create", name=self._experiment)["experiment_id"])
        answer.raise_for_status()
        return str(answer.json()["experiment"]["experiment_id"])

    def _found(self, experiment: str, job_id: str) -> dict[str, Any] | None:
        """What the server says of a job's run; None where it has none."""
        wanted = f"tags.`lab.job` = '{job_id}'"
        found = self._post("runs/search", experiment_ids=[experiment], filter=wanted)
        return next((run["info"] for run in found.get("runs", [])), None)

    def _created(self, experiment: str, record: Record) -> str:
        created = self._post(
            "runs/create",
            experiment_id=experiment,
            run_name=record.name,
            start_time=round(1000 * record.began),
            tags=[{"key": key, "value": value} for key, value in record.tags.items()],
        )
        return str(created["run"]["info"]["run_id"])

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._http.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def _metric(point: Point) -> dict[str, Any]:
    at = round(1000 * point.at)
    return {"key": _key(point.name), "value": point.value, "timestamp": at, "step": point.step}


def _key(name: str) -> str:
    """What MLflow takes as a name."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:_LONGEST]


def _parts(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
