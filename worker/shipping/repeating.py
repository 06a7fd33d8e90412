"""The whole way to the models in the box: import, train, pack, evaluate, and what shows them.

Each step is a job of `python -m worker` in a process of its own, against one data folder. What
the folder shows as done is not done again, and what was interrupted goes on, so the command may
be given again at any time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import PARAMS_OF
from app.contracts.results import EvaluationResult, Showcase, TrainResult
from app.errors import JobError
from app.store import catalogue, job_queries
from app.store.db import Database
from app.store.shipped import listed, register
from app.store.showcase import pool
from app.store.tables import JobRow
from worker.jobs.context import WorkerLab
from worker.shipping import showcase
from worker.shipping.packing import measure, pack

_MANY = 10_000


def repeat(lab: WorkerLab, archive: Path, jobs: Path, folder: Path) -> None:
    """Fill `folder` with the models of `jobs`: `<slug>.json`, teachers first, and `evaluate/`; and
    with their showcase, where `showcase/` is among the jobs.

    Raises JobError where a job does not succeed, InvalidInput where no picture holds.
    """
    database, files = lab.database, lab.files
    dataset = _dataset(database, archive, _read(jobs / "import" / "images.json"))
    trained: dict[str, str] = {}
    packed: list[str] = []
    for slug, params in _teachers_first(jobs):
        teacher = _teacher(trained, slug, params["teacher"])
        row = _job(database, JobKind.TRAIN, params | {"dataset": dataset, "teacher": teacher})
        result = TrainResult.model_validate_json(files.result(row.id).read_bytes())
        trained[slug] = result.model
        packed.append(pack(database, files, result.model, slug, folder).id)
    for path in sorted((jobs / "evaluate").glob("*.json")):
        params = _read(path) | {"dataset": dataset, "models": packed}
        measure(database, files, _job(database, JobKind.EVALUATE, params).id, folder)
    if (jobs / "showcase").exists():
        show(lab, archive, jobs, folder)


def show(lab: WorkerLab, archive: Path, jobs: Path, folder: Path) -> Showcase:
    """Make the showcase of the models in `folder` anew: their curves by the evaluation
    `jobs/showcase/curves.json`, and the pictures of the pool that hold.

    Raises JobError where a job does not succeed, InvalidInput where no picture holds.
    """
    register(lab.database, lab.files, folder)
    dataset = _dataset(lab.database, archive, _read(jobs / "import" / "images.json"))
    models = [shipped.id for shipped in listed(folder)]
    params = _read(jobs / "showcase" / "curves.json") | {"dataset": dataset, "models": models}
    measured = lab.files.result(_job(lab.database, JobKind.EVALUATE, params).id)
    pair = showcase.default_pair(folder)
    tried = [showcase.attacked(lab, picture, pair) for picture in pool()]
    curves = EvaluationResult.model_validate_json(measured.read_bytes())
    return showcase.write(folder, tried, curves)


def _teachers_first(jobs: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    read = {path.stem: _read(path) for path in sorted(jobs.glob("*.json"))}
    return sorted(read.items(), key=lambda job: job[1]["teacher"] is not None)


def _teacher(trained: dict[str, str], slug: str, teacher: str | None) -> str | None:
    if teacher is None:
        return None
    if teacher not in trained:
        raise JobError(f"“{slug}” learns from “{teacher}”, which has no job without a teacher.")
    return trained[teacher]


def _read(path: Path) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(path.read_bytes())
    return params


def _dataset(database: Database, archive: Path, params: dict[str, Any]) -> str:
    if catalogue.dataset_named(database, params["name"]) is None:
        _run("import", params, "--archive", str(archive))
    row = catalogue.dataset_named(database, params["name"])
    if row is None:
        raise JobError("The import left no dataset.")
    return row.id


def _job(database: Database, kind: JobKind, values: dict[str, Any]) -> JobRow:
    """The finished job with these parameters, run now unless it was before."""
    params = PARAMS_OF[kind].model_validate(values).model_dump(mode="json")
    earlier = _known(database, kind, params)
    if earlier is None:
        _run(kind, params)
    elif earlier.status != JobStatus.SUCCEEDED:
        _await_lease(earlier)
        _worker("resume", earlier.id)
    row = _known(database, kind, params)
    if row is None or row.status != JobStatus.SUCCEEDED:
        raise JobError(f"The job to {kind} did not succeed.")
    return row


def _await_lease(row: JobRow) -> None:
    """A worker that was killed holds its job until the lease is over."""
    left = (row.lease_until or 0.0) - time.time()
    if left > 0:
        print(f"job {row.id} is held by a worker for another {left:.0f} s", flush=True)
        time.sleep(left)


def _known(database: Database, kind: JobKind, params: dict[str, Any]) -> JobRow | None:
    """The newest job of these parameters that succeeded, or else is to go on.

    A killed one counts as running; `worker resume` takes it up once its lease is over.
    """
    for status in (JobStatus.SUCCEEDED, JobStatus.QUEUED, JobStatus.RUNNING):
        rows, _ = job_queries.page(database, kinds=[kind], statuses=[status], offset=0, limit=_MANY)
        for row in rows:
            if row.params == params:
                return row
    return None


def _run(kind: str, params: dict[str, Any], *options: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(params, file)
        file.flush()
        _worker(kind, file.name, *options)


def _worker(*arguments: str) -> None:
    process = subprocess.Popen([sys.executable, "-m", "worker", *arguments])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # The terminal told it too: it leaves a checkpoint first.
        raise
    if code != 0:
        raise JobError(f"`python -m worker {arguments[0]}` ended with {code}.")
