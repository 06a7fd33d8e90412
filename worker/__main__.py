"""The lab's jobs with no broker, for clusters and batch systems.

    python -m worker import params.json --archive images.tar.xz
    python -m worker train params.json
    python -m worker evaluate params.json
    python -m worker release params.json
    python -m worker ablation params.json
    python -m worker import_model params.json --weights net.safetensors
    python -m worker resume JOB
    python -m worker help

`params.json` holds what the REST API takes as `params`; for `evaluate` it may also be an exported
evaluation, also of another lab, which then runs again on the very same data and weights.

The job runs in this process, against the data folder of `LAB_DATA_DIR`; its row, its events and
what it leaves are those of any other job, so a lab that uses the folder shows them. Ctrl-C leaves a
checkpoint and a queued job; what was killed can be resumed once its lease is over (`LAB_LEASE_S`,
30 seconds).
`help` measures parts of evaluations that other processes have, until there is none left: any number
of them may, and figures are the same.
An ablation runs its trainings and evaluations one after the other; other workers of the lab may
take some of them meanwhile.
A training on several machines (`nodes`) is the same command on each, with one data folder for all:
LAB_RENDEZVOUS says where they meet, and LAB_NODE which one this is. Machine 0 runs the job, and the
others take part.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from app.ablations import lifecycle
from app.contracts import titles
from app.contracts.events import EVENT, LogEvent, ProgressEvent
from app.contracts.export import Export
from app.contracts.jobs import PARENTS, JobKind, JobStatus
from app.contracts.params import PARAMS_OF, Params, TrainParams
from app.errors import Conflict, InvalidFields, InvalidInput, LabError
from app.settings import Settings, settings
from app.store import catalogue, job_queries, jobs, losses, shipped
from app.store.db import Database
from app.store.files import keep_private
from app.store.shared_files import files_of
from app.store.tables import UploadRow
from worker.job_run import help_out, run_job
from worker.jobs.context import STORAGE_PATIENCE_S, WorkerLab
from worker.memory import keep_freed_memory

_KINDS = (
    JobKind.IMPORT,
    JobKind.IMPORT_MODEL,
    JobKind.TRAIN,
    JobKind.EVALUATE,
    JobKind.RELEASE,
    JobKind.ABLATION,
)
_INTERRUPTED, _NOTHING = 130, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job to its end; 0 when it succeeded."""
    options = _parser().parse_args(arguments)
    keep_freed_memory()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        if settings().node > 0:
            return _join(settings(), options)
        lab, echo = _open(settings())
        if options.command == "help":
            return 0 if help_out(lab, stopping=stopping.is_set) else _NOTHING
        job_id = _resumed(lab, options) if options.command == "resume" else _submit(lab, options)
    except (LabError, OSError, ValidationError) as error:
        said = InvalidFields.of(error) if isinstance(error, ValidationError) else error
        print(said, file=sys.stderr)
        return 2
    print(f"job {job_id}", flush=True)
    status = _run(lab, echo, job_id, stopping.is_set)
    return _conclude(lab, job_id, interrupted=status is None and stopping.is_set())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for kind in _KINDS:
        command = commands.add_parser(kind, help=f"run one {kind} job")
        command.add_argument("params", type=Path, help="a JSON file")
        if kind is JobKind.IMPORT:
            command.add_argument(
                "--archive", dest="file", type=Path, help="an archive of class folders"
            )
        if kind is JobKind.IMPORT_MODEL:
            command.add_argument(
                "--weights", dest="file", type=Path, required=True, help="safetensors, .pt or .pth"
            )
    resume = commands.add_parser("resume", help="go on with a queued job")
    resume.add_argument("job", help="its id")
    commands.add_parser("help", help="take parts of evaluations; 3 where there is none")
    return parser


def _open(facts: Settings) -> tuple[WorkerLab, _Echo]:
    keep_private(facts.data_dir)
    database = Database(facts.sql_url)
    database.migrate()
    files = files_of(facts, database, patience_s=STORAGE_PATIENCE_S)
    files.prepare()
    shipped.register(database, files, facts.shipped_dir)
    echo = _Echo(database)
    return WorkerLab(facts, database, files, echo), echo


class _Echo:
    """Prints the new events of jobs where a bell would ring."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: Counter[str] = Counter()

    def follow(self, job_id: str) -> None:
        """Leave out what happened before now."""
        row = job_queries.get(self._database, job_id)
        self._seen[job_id] = 0 if row is None else row.last_event

    def __call__(self, job_id: str) -> None:
        for stored in job_queries.events_after(self._database, job_id, self._seen[job_id]):
            self._seen[job_id] = stored.seq
            event = EVENT.validate_python(stored.body)
            if isinstance(event, LogEvent):
                print(event.text, flush=True)
            elif isinstance(event, ProgressEvent):
                left = "" if event.eta_s is None else f", {event.eta_s:.0f} s left"
                print(f"{event.phase}: {event.done} of {event.total}{left}", flush=True)


def _resumed(lab: WorkerLab, options: argparse.Namespace) -> str:
    """The job's id. Where no service runs, nobody else takes it back from a worker that is gone."""
    losses.release_expired(lab.database, lease_s=lab.settings.lease_s)
    return str(options.job)


def _join(facts: Settings, options: argparse.Namespace) -> int:
    """Take part in a training whose job another machine runs; this one opens no database.

    Raises LabError, OSError, ValidationError.
    """
    from worker.jobs import together  # which needs torch

    if options.command != JobKind.TRAIN:
        raise InvalidInput(
            "Another machine than the first takes part in trainings alone (LAB_NODE).",
            hint="Give it the parameters of the training, also where the first one resumes it.",
        )
    params = TrainParams.model_validate(_read_json(options.params.read_bytes()))
    if params.nodes <= facts.node:
        raise InvalidInput(
            f"There is no machine {facts.node} in a training on {params.nodes} (LAB_NODE).",
            field="nodes",
        )
    ended = together.join(facts, params)
    if ended is not None:
        print(f"Machine {facts.node}: {ended}.", file=sys.stderr)
    return 0 if ended is None else 1


def _submit(lab: WorkerLab, options: argparse.Namespace) -> str:
    kind, file = JobKind(options.command), getattr(options, "file", None)
    upload = None if file is None else uuid.uuid4().hex
    params = _read_params(lab, kind, options.params.read_bytes(), upload)
    if file is not None and upload is not None:
        _keep(lab, file, upload)
    # Claimed at once by this process: a worker that hears of it first may just as well run it.
    names = catalogue.names(lab.database, titles.named_in(params))
    row = jobs.queued(kind, titles.title(params, names), params)
    jobs.add(lab.database, row, lifecycle.trainings(row.id, params))
    return row.id


def _read_params(lab: WorkerLab, kind: JobKind, text: bytes, upload: str | None) -> Params:
    """Parameters, or those of an exported evaluation.

    Raises InvalidInput, ValidationError, Conflict.
    """
    values = _read_json(text)
    if kind is JobKind.EVALUATE and "format" in values:
        return _exported(lab, Export.model_validate_json(text))
    if upload is not None:
        values |= {"upload": upload} | ({"source": "archive"} if kind is JobKind.IMPORT else {})
    return PARAMS_OF[kind].model_validate(values)


def _read_json(text: bytes) -> dict[str, Any]:
    """Raises InvalidInput."""
    try:
        values = from_json(text)
    except ValueError as error:
        raise InvalidInput(f"The parameters are no JSON: {error}.") from None
    if not isinstance(values, dict):
        raise InvalidInput("The parameters are no JSON object.")
    return values


def _exported(lab: WorkerLab, exported: Export) -> Params:
    """The parameters of an evaluation that can be run again. Raises Conflict."""
    try:
        return exported.placed(catalogue.checksums(lab.database, exported.lineages))
    except ValueError as difference:
        raise Conflict(f"{difference} The figures would be others.") from None


def _keep(lab: WorkerLab, file: Path, upload_id: str) -> None:
    """Copy a file to where an upload would be, so that the job is one like any other."""
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.", field="file")
    target = lab.files.upload(upload_id)
    shutil.copyfile(file, target)
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    lab.files.keep(target)
    row = UploadRow(
        id=upload_id,
        filename=file.name,
        sha256=digest,
        size_bytes=file.stat().st_size,
        created_at=time.time(),
    )
    catalogue.add_upload(lab.database, row)


def _run(
    lab: WorkerLab, echo: _Echo, job_id: str, stopping: Callable[[], bool]
) -> JobStatus | None:
    """Run a job, or the children of a parent; None when it did not end here."""
    echo.follow(job_id)
    row = job_queries.get(lab.database, job_id)
    if row is None or row.kind not in PARENTS:
        return run_job(lab, job_id, stopping=stopping)
    lifecycle.advance(lab.database, lab.files, job_id)
    while not stopping() and (child := job_queries.first_queued(lab.database, job_id)):
        echo.follow(child)
        run_job(lab, child, stopping=stopping)
    row = job_queries.get(lab.database, job_id)
    assert row is not None
    status = JobStatus(row.status)
    return status if status.is_final else None


def _conclude(lab: WorkerLab, job_id: str, *, interrupted: bool) -> int:
    row = job_queries.get(lab.database, job_id)
    if row is None:
        print("There is no such job.", file=sys.stderr)
        return 2
    if interrupted:
        print(f"Interrupted. Go on with: python -m worker resume {job_id}", file=sys.stderr)
        return _INTERRUPTED
    status = JobStatus(row.status)
    if not status.is_final:
        print(f"The job is {status}; this process does not run it.", file=sys.stderr)
        return 1
    if row.failure is not None:
        print(f"{row.failure['detail']} {row.failure['hint']}", file=sys.stderr)
    elif row.result_file is not None:
        print(f"result: {lab.files.here(lab.files.result(row.result_name))}")
    return 0 if status is JobStatus.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
