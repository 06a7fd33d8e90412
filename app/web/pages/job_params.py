"""What a job was asked for, as its page and its report show it."""

from __future__ import annotations

import json
from typing import NamedTuple

from app.contracts.params import PARAMS_OF, Params
from app.contracts.stored import understood
from app.contracts.views import JobView
from app.errors import NotFound
from app.services import datasets, jobs, models, uploads
from app.services.lab import Lab
from app.web.forms.readable import Named, Row, RowGroup, readable

REPLACED = ("training.name", "training.recipe", "training.seed", "training.continue_from")
"""What an ablation replaces in the settings that its trainings share."""


class Asked(NamedTuple):
    """What a job was asked for."""

    params: Params | None
    """None where an earlier version of the lab had others."""
    rows: tuple[RowGroup, ...]
    """Those that meant something, with names in place of ids; as they were stored where they are
    not read any more."""


def asked_for(lab: Lab, job: JobView) -> Asked:
    kind = PARAMS_OF[job.kind]
    params = understood(kind, job.params)
    if params is None:
        rows = tuple(_as_stored(name, value) for name, value in job.params.items())
        return Asked(None, (RowGroup("", rows),))
    return Asked(params, readable(kind, job.params, _names_in(lab, job), without=REPLACED))


def _as_stored(name: str, value: object) -> Row:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Row(label=name, help="", values=(Named(said, ""),), changed=False)


def _names_in(lab: Lab, job: JobView) -> dict[str, Named]:
    """What the ids among a job's parameters stand for."""
    params = {**job.params, **job.params.get("training", {})}
    several = [*params.get("models", []), *params.get("sources", [])]
    ids = {*(params.get(role) for role in ("model", "teacher", "student")), *several} - {None}
    views = models.by_id(lab, sorted(ids))
    names = {model: Named(view.name, f"/models/{model}") for model, view in views.items()}
    names |= {gone: Named(f"a deleted model ({gone[:8]})", "") for gone in ids - set(views)}
    if "dataset" in params:
        try:
            view = datasets.get(lab, params["dataset"])
            names[view.id] = Named(view.name, f"/datasets/{view.id}")
        except NotFound:
            pass
    if params.get("upload"):
        file = uploads.file_name(lab, params["upload"])
        names[params["upload"]] = Named(file or "a file that is gone", "")
    if params.get("continue_from"):
        names |= earlier_run(lab, params["continue_from"])
    return names


def earlier_run(lab: Lab, job_id: str) -> dict[str, Named]:
    """What a training went on from is called."""
    try:
        return {job_id: Named(jobs.get(lab, job_id).title, f"/jobs/{job_id}")}
    except NotFound:
        return {job_id: Named("a deleted job", "")}
