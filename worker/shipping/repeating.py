"""The whole way to the models in the box: import, train, pack, evaluate, and what shows them.

Each step is a job of `python -m worker` in a process of its own, against one data folder. What
the folder shows as done is not done again, and what was interrupted goes on, so the command may
be given again at any time: also where its time was limited, and over.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import PARAMS_OF, TrainParams
from app.contracts.results import EvaluationResult, Showcase, TrainResult
from app.errors import JobError
from app.store import catalogue, job_queries
from app.store.db import Database
from app.store.files import atomic_write
from app.store.shipped import listed, read_card, register
from app.store.showcase import DRAWN, pool
from app.store.tables import JobRow
from worker import registry
from worker.jobs.context import WorkerLab
from worker.shipping import showcase
from worker.shipping.budget import epochs_within, paces_of
from worker.shipping.packing import measure, pack, packed

_MANY = 10_000
_TRAINING = 0.75
"""The share of a limited time that goes into training, and not into measuring."""
_START_S = 12.0
"""What a job's process takes of it before its first step and after its last, about."""
_GRACE_S = 30.0
"""For how long a job may write its checkpoint."""
_CHOSEN = "epochs.json"


class TimeIsUp(Exception):
    """What is done is kept, and what was begun has its checkpoint."""


def repeat(
    lab: WorkerLab, archive: Path | None, jobs: Path, folder: Path, *, seconds: float | None = None
) -> None:
    """Fill `folder` with the models of `jobs`: `<slug>.json`, teachers first, and `evaluate/`; and
    with their showcase, where `showcase/` is among the jobs. Images that the lab draws need no
    archive.

    `seconds` limits the time: the epochs of the jobs are then those at most, and so many are taken
    as the speed measured here allows. The choice is kept for later calls with the same lab.

    Raises JobError where a job does not succeed, InvalidInput where no picture holds, TimeIsUp.
    """
    until = math.inf if seconds is None else time.monotonic() + seconds
    database, files = lab.database, lab.files
    dataset = _dataset(database, archive, _read(jobs / "import" / "images.json"), until)
    trained: dict[str, str] = {}
    box: list[str] = []
    wanted = dict(_teachers_first(jobs))
    if seconds is not None:
        for slug, epochs in _chosen(lab, dataset, wanted, until).items():
            wanted[slug]["epochs"] = epochs
    for slug, params in wanted.items():
        teacher = _teacher(trained, slug, params["teacher"])
        values = params | {"dataset": dataset, "teacher": teacher}
        row = _job(database, JobKind.TRAIN, values, until)
        result = TrainResult.model_validate_json(files.result(row.result_name).read_bytes())
        trained[slug] = result.model
        shipped = packed(database, result.model, slug, folder)
        shipped = shipped or pack(database, files, result.model, slug, folder)
        box.append(shipped.id)
    for path in sorted((jobs / "evaluate").glob("*.json")):
        params = _read(path) | {"dataset": dataset, "models": box}
        measure(database, files, _job(database, JobKind.EVALUATE, params, until).id, folder)
    if (jobs / "showcase").exists():
        show(lab, archive, jobs, folder, until=until)


def _chosen(
    lab: WorkerLab, dataset: str, wanted: Mapping[str, dict[str, Any]], until: float
) -> dict[str, int]:
    """The epochs of each training, chosen by an earlier call or now."""
    path = lab.settings.data_dir / _CHOSEN
    known = _read(path) if path.exists() else {}
    if known.keys() == wanted.keys():
        print(f"Epochs as chosen before: {known}.", flush=True)
        return known
    _, images = registry.dataset(lab.database, lab.files, dataset)
    params = {}
    for slug, values in wanted.items():
        teacher = values["teacher"] and dataset  # any id: nothing of it is read
        given = values | {"dataset": dataset, "teacher": teacher}
        params[slug] = TrainParams.model_validate(given)
    paces = paces_of(params, images)
    left = (until - time.monotonic()) * _TRAINING - _START_S * len(wanted)
    most = {slug: values["epochs"] for slug, values in wanted.items()}
    chosen = epochs_within(left, paces, most)
    for slug, pace in paces.items():
        print(
            f"{slug}: {1000 * pace.step:.1f} ms a step, {pace.validation:.1f} s to measure an "
            f"epoch; {chosen[slug]} of {most[slug]} epochs, {pace.seconds(chosen[slug]):.0f} s.",
            flush=True,
        )
    with atomic_write(path) as stream:
        stream.write(json.dumps(chosen).encode())
    return chosen


def show(
    lab: WorkerLab, archive: Path | None, jobs: Path, folder: Path, *, until: float = math.inf
) -> Showcase:
    """Make the showcase of the models in `folder` that learned from these images anew: their curves
    by the evaluation `jobs/showcase/curves.json`, and the pictures of the pool that hold. `until`:
    of the clock `time.monotonic`.

    Raises JobError where a job does not succeed, InvalidInput where no picture holds, TimeIsUp.
    """
    register(lab.database, lab.files, folder)
    images = _read(jobs / "import" / "images.json")
    dataset = _dataset(lab.database, archive, images, until)
    models = [one.id for one in listed(folder) if read_card(one).dataset.name == images["name"]]
    params = _read(jobs / "showcase" / "curves.json") | {"dataset": dataset, "models": models}
    measured = lab.files.result(_job(lab.database, JobKind.EVALUATE, params, until).result_name)
    pair = showcase.default_pair(folder)
    tried = [showcase.attacked(lab, picture, pair) for picture in pool()]
    curves = EvaluationResult.model_validate_json(measured.read_bytes())
    return showcase.write(folder, tried, curves)


def draw_samples(lab: WorkerLab, jobs: Path, folder: Path = DRAWN) -> tuple[str, ...]:
    """Write what a lab without data has to try its models of drawn images with: of the images that
    `jobs` draw to test on, the first of each class, whatever a model makes of it.

    Returns the classes. Raises JobError where the import does not succeed.
    """
    images = _read(jobs / "import" / "images.json")
    _, dataset = registry.dataset(
        lab.database, lab.files, _dataset(lab.database, None, images, math.inf)
    )
    folder.mkdir(exist_ok=True)
    for label, name in enumerate(dataset.class_names):
        first = np.flatnonzero(dataset.arrays["test_labels"] == label)[0]
        pixels = np.asarray(dataset.arrays["test_images"][first])
        with atomic_write(folder / f"{name}.png") as stream:
            Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return dataset.class_names


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


def _dataset(database: Database, archive: Path | None, params: dict[str, Any], until: float) -> str:
    if catalogue.dataset_named(database, params["name"]) is None:
        options = () if archive is None else ("--archive", str(archive))
        _run("import", params, until, *options)
    row = catalogue.dataset_named(database, params["name"])
    if row is None:
        raise JobError("The import left no dataset.")
    return row.id


def _job(database: Database, kind: JobKind, values: dict[str, Any], until: float) -> JobRow:
    """The finished job with these parameters, run now unless it was before."""
    params = PARAMS_OF[kind].model_validate(values).model_dump(mode="json")
    earlier = _known(database, kind, params)
    if earlier is None:
        _run(kind, params, until)
    elif earlier.status != JobStatus.SUCCEEDED:
        _await_lease(earlier)
        _worker("resume", earlier.id, until=until)
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


def _run(kind: str, params: dict[str, Any], until: float, *options: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(params, file)
        file.flush()
        _worker(kind, file.name, *options, until=until)


def _worker(*arguments: str, until: float) -> None:
    """Run one job. Raises JobError, and TimeIsUp once it has given the job back."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeIsUp
    process = subprocess.Popen([sys.executable, "-m", "worker", *arguments])
    try:
        code = process.wait(None if left == math.inf else left)
    except KeyboardInterrupt:
        process.wait()  # The terminal told it too: it leaves a checkpoint first.
        raise
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise TimeIsUp from None
    if code != 0:
        raise JobError(f"`python -m worker {arguments[0]}` ended with {code}.")
