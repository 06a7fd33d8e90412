"""What each command does. Each returns an exit code, and raises LabError for a bad call."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.client import gate_reports, shown
from app.client.assignments import assign, from_file, put
from app.client.errors import LabError, write
from app.client.gate import Asked, Gate
from app.client.job import Job
from app.client.lab import Lab
from app.client.terminal import on_one_line
from app.contracts.accounts import Role
from app.contracts.jobs import JobStatus
from app.contracts.results import Light
from app.contracts.views import JobView

PROGRAM = "lab-client" if Path(sys.argv[0]).stem == "lab-client" else "python -m app.client"
"""As it was called: an installed lab brings a command."""
_NOT_PARAMETERS = {"file", "priority", "self"}
"""Arguments of the methods that take parameters."""


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    UNSUCCESSFUL = 1
    """The job that was waited for failed or was cancelled, or a gate does not hold."""
    BAD_CALL = 2
    """The call was wrong or refused, or the lab did not answer. Also argparse's own code."""
    INTERRUPTED = 130
    UNREAD = 141
    """Whatever read the output closed it; as of programs that SIGPIPE ends."""


def import_(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.import_dataset(options.file, **_params(options)), options)


def import_model(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.import_model(options.file, **_params(options)), options)


def train(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.train(**_params(options), priority=options.priority), options)


def evaluate(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.evaluate(**_params(options), priority=options.priority), options)


def ablation(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.ablation(**_params(options), priority=options.priority), options)


def release(lab: Lab, options: Namespace) -> Exit:
    job = lab.release(options.model, priority=options.priority)
    return _submitted(job, options) if options.output is None else _exported(job, options)


def table(lab: Lab, options: Namespace) -> Exit:
    found = lab.job(options.job).table()
    _print(found, shown.ablation(found), options)
    return Exit.DONE


def rerun(lab: Lab, options: Namespace) -> Exit:
    return _submitted(lab.rerun(options.export), options)


def watch(lab: Lab, options: Namespace) -> Exit:
    return _followed(lab.job(options.job), options)


def cancel(lab: Lab, options: Namespace) -> Exit:
    view = lab.job(options.job).cancel()
    over = view.status.is_final
    _print(view, "The job is cancelled." if over else "The job ends at its next step.", options)
    return Exit.DONE


def fetch(lab: Lab, options: Namespace) -> Exit:
    job = lab.job(options.job)
    if options.output is None:
        return _followed(job, options)
    return _exported(job, options, images=options.images, model=options.model)


def gate(lab: Lab, options: Namespace) -> Exit:
    job = lab.job(options.job)
    light = None if options.verdict is None else Light(options.verdict)
    asked = Asked(options.robust_at_least, options.clean_at_least, light, options.model)
    code = _waited(job)
    found = None
    if code is Exit.DONE:
        found = job.gate(asked)
        print(shown.gate(found))
        code = Exit.DONE if found.holds else Exit.UNSUCCESSFUL
    if code is not Exit.INTERRUPTED:
        _write_reports(lab, job, found, options)
    return code


def _write_reports(lab: Lab, job: Job[Any], found: Gate | None, options: Namespace) -> None:
    if options.junit is not None:
        write(options.junit, gate_reports.junit(job.view, found))
    if options.sarif is not None:
        page, version = f"{lab.url}/jobs/{job.id}", lab.health().version
        report = gate_reports.sarif(job.view, found, version=version, at=options.at, page=page)
        write(options.sarif, report)


def compare(lab: Lab, options: Namespace) -> Exit:
    found = lab.compare(*options.jobs)
    _print(found, shown.comparison(found), options)
    return Exit.DONE


def jobs(lab: Lab, options: Namespace) -> Exit:
    found = lab.jobs(kind=options.kind, status=options.status, limit=options.limit)
    _print([job.view for job in found], shown.jobs(found), options)
    return Exit.DONE


def workers(lab: Lab, options: Namespace) -> Exit:
    for name, change in ((options.drain, lab.drain), (options.resume, lab.resume)):
        if name is not None:
            change(name)
    found = lab.workers()
    _print(found, shown.workers(found), options)
    return Exit.DONE


def models(lab: Lab, options: Namespace) -> Exit:
    found = lab.models()
    _print(found, shown.models(found), options)
    return Exit.DONE


def datasets(lab: Lab, options: Namespace) -> Exit:
    found = lab.datasets()
    _print(found, shown.datasets(found), options)
    return Exit.DONE


def users(lab: Lab, options: Namespace) -> Exit:
    found = lab.users()
    _print(found, shown.users(found), options)
    return Exit.DONE


def user(lab: Lab, options: Namespace) -> Exit:
    role = None if options.role is None else Role(options.role)
    found = lab.change_user(options.name, role=role, disabled=options.disabled)
    _print(found, shown.users([found]), options)
    return Exit.DONE


def _params(options: Namespace) -> dict[str, Any]:
    """Those of the file, over them the options of their own, over them those of `--set`."""
    params: dict[str, Any] = {} if options.params is None else from_file(options.params)
    for name in options.parameters:
        value = getattr(options, name)
        if value is not None:
            put(params, name, value)
    for assignment in options.set:
        assign(params, assignment)
    if not _NOT_PARAMETERS.isdisjoint(params):
        named = "`file`, `priority` and `self` are no parameters."
        raise LabError("Not a parameter", named, field="params")
    return params


def _submitted(job: Job[Any], options: Namespace) -> Exit:
    if options.detach:
        _print(job.view, job.id, options)
        return Exit.DONE
    return _followed(job, options)


def _followed(job: Job[Any], options: Namespace) -> Exit:
    code = _waited(job)
    if code is Exit.DONE:
        found = job.result()
        _print(found, shown.result(found), options)
    return code


def _exported(job: Job[Any], options: Namespace, **how: Any) -> Exit:
    code = _waited(job)
    if code is Exit.DONE:
        print(job.export(options.output, **how))
    return code


def _waited(job: Job[Any]) -> Exit:
    """Show progress until the job is over; say on standard error why it is not a success."""
    try:
        view = job.wait(progress=True).view
    except KeyboardInterrupt:
        _say(f"The job goes on. Watch it:  {PROGRAM} watch {job.id}")
        _say(f"Or end it:                  {PROGRAM} cancel {job.id}")
        return Exit.INTERRUPTED
    if view.status is JobStatus.SUCCEEDED:
        return Exit.DONE
    _say_why(view)
    return Exit.UNSUCCESSFUL


def _say_why(view: JobView) -> None:
    _say(f"“{view.title}” {view.status}.")
    if view.failure is not None:
        _say(view.failure.detail)
        _say(view.failure.hint)


def _say(line: str) -> None:
    if line:
        print(on_one_line(line), file=sys.stderr)


def _print(found: BaseModel | Sequence[BaseModel], text: str, options: Namespace) -> None:
    if not options.json:
        print(text)
    elif isinstance(found, BaseModel):
        print(found.model_dump_json(indent=2))
    else:
        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
