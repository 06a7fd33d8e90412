"""A job as others would start it: a line for curl, and a few of Python."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pprint import pformat
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.jobs import JobKind
from app.contracts.params import NO_ID, PARAMS_OF, Params
from app.contracts.placement import Priority
from app.contracts.stored import UNREAD_PARAMS, understood
from app.contracts.units import format_255, parse
from app.deps import LabDep
from app.services import jobs, uploads
from app.web.forms import entries as typed
from app.web.forms.specs import specs
from app.web.pages.inputs import IdPath
from app.web.pages.job_frame import Way
from app.web.pages.kinds import KINDS
from app.web.pages.submitting import Entries, priority_of
from app.web.render import Context, own_address, render


@dataclass(frozen=True)
class CodeContext(Context):
    """What starts one job from elsewhere."""

    template: ClassVar[str] = "_code_of.html"

    curl: str
    """For a shell."""
    python: str
    """With the lab's client."""
    missing: tuple[str, ...]
    """What is wrong with a form that is still being filled in; then there is no code."""


router = APIRouter(prefix="/jobs", route_class=ByMethod)


@router.get("/{job_id}/code")
def code(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment with what starts the same job again; a file goes by the name it came with."""
    job = jobs.get(lab, job_id)
    upload = job.params.get("upload")
    file = uploads.file_name(lab, upload) or "a-file" if upload else ""
    params = understood(PARAMS_OF[job.kind], job.params)
    if params is None:
        return render(request, CodeContext("", "", (UNREAD_PARAMS,)))
    name = job.name if job.kind is JobKind.EVALUATE else ""  # others are called by their parameters
    return render(request, code_of(request, job.kind, params, file, name))


def code_of_form(
    request: Request, kind: JobKind, entries: Entries, file: str = "", name: str = ""
) -> Response:
    """The fragment with what starts the job that is being filled in; `file` is the name of the one
    that it brings, `name` what the job is to be called."""
    if file:
        entries = {**entries, "upload": (NO_ID,)}
    try:
        params = typed.read(PARAMS_OF[kind], entries)
        priority = priority_of(entries)
    except typed.Rejected as rejected:
        missing = dict.fromkeys(_said(PARAMS_OF[kind], rejected))  # once, of fields of one title
        return render(request, CodeContext("", "", tuple(missing)))
    return render(request, code_of(request, kind, params, file, name, priority))


def _said(params: type[Params], rejected: typed.Rejected) -> Iterator[str]:
    """`Name: must be given`."""
    labels = {spec.name: spec.label for spec in specs(params)}
    for name, message in rejected.messages.items():
        yield f"{labels[name]}: {message}" if name in labels else message


def code_of(
    request: Request,
    kind: JobKind,
    params: Params,
    file: str = "",
    name: str = "",
    priority: Priority = Priority.NORMAL,
) -> CodeContext:
    """What starts a job with these parameters; those at their default are left out."""
    way, base = KINDS[kind].way, own_address(request)
    values = _as_typed(params)
    values.pop("upload", None)
    if way.told_by_file:
        values.pop(way.told_by_file, None)
        values |= {} if file else params.model_dump(mode="json", include={way.told_by_file})
    if way.flat:
        values |= values.pop(way.flat, {})
    named = {"name": name} if name else {}
    named |= {} if priority is Priority.NORMAL else {"priority": priority.value}
    if way.file:
        curl = _form(base + way.path, way.file, file, values)
    else:
        curl = _json(base + way.path, {"kind": kind.value, **named, "params": values})
    if way.by_name:
        group, name = way.by_name.split(".")
        values[name] = values[group].pop(name)
    return CodeContext(curl, _python(base, way, file, values | named), ())


def _as_typed(params: Params) -> dict[str, Any]:
    """The parameters that say something, with budgets as `8/255`."""
    values = params.model_dump(mode="json", exclude_defaults=True)
    for spec in specs(type(params)):
        *path, last = spec.name.split(".")
        place: Any = values
        for part in path:
            place = place.get(part) if isinstance(place, Mapping) else None
        if spec.in_255 and isinstance(place, dict) and place.get(last) is not None:
            held = place[last]
            place[last] = (
                [_budget(one) for one in held] if isinstance(held, list) else _budget(held)
            )
    return values


def _budget(value: float) -> str | float:
    """`8/255` where that is the very same number."""
    return format_255(value) if parse(format_255(value)) == value else value


def _json(address: str, body: Mapping[str, Any]) -> str:
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return (
        f"curl -sSf {shlex.quote(address)} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(text)}"
    )


def _form(address: str, field: str, file: str, values: Mapping[str, Any]) -> str:
    parts = [f"{name}={one}" for name, one in _laid_flat(values)]
    if file:
        # curl reads a quoted name with its own escapes.
        parts.insert(0, '{}=@"{}"'.format(field, re.sub(r'(["\\\\])', r"\\\1", file)))
    # --form-string takes a value as it stands; -F would read a file whose name follows an @.
    lines = [f"-F {shlex.quote(parts[0])}"] if file else []
    lines += [f"--form-string {shlex.quote(part)}" for part in parts[len(lines) :]]
    return " \\\n  ".join([f"curl -sSf {shlex.quote(address)}", *lines])


def _laid_flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _laid_flat(value)
        elif isinstance(value, list):
            yield from ((name, _text(one)) for one in value)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _python(base: str, way: Way, file: str, values: Mapping[str, Any]) -> str:
    given = [repr(file)] if file else []
    given += [
        f"{name}={pformat(value, sort_dicts=False, width=76).replace(chr(10), chr(10) + ' ' * 8)}"
        for name, value in values.items()
    ]
    arguments = "".join(f"        {one},\n" for one in given)
    return (
        "from app.client import Lab\n\n"
        f"with Lab({base!r}) as lab:\n"
        f"    job = lab.{way.method}(\n{arguments}    )\n"
        "    result = job.wait().result()\n"
    )
