"""New training and evaluation jobs: forms that lose nothing of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams, Params, TrainParams
from app.contracts.views import JobView
from app.deps import LabDep
from app.errors import InvalidInput
from app.services import datasets, jobs, models
from app.services.lab import Lab
from app.web.forms import entries as typed
from app.web.forms import form as forms
from app.web.forms import presets
from app.web.forms.choices import all_models, dataset_choices, model_choices, resumable_jobs
from app.web.pages.contexts import EvaluateContext, TrainContext
from app.web.pages.inputs import Posted
from app.web.render import Context, render

router = APIRouter()

Entries = Mapping[str, Sequence[str]]
Messages = Mapping[str, str]
AgainFrom = Annotated[str | None, Query(alias="from", pattern=r"^[0-9a-f]{32}$")]
P = TypeVar("P", bound=Params)


def submit(lab: Lab, kind: JobKind, params: type[P], entries: Entries) -> JobView:
    """Start the job that was typed. Raises Rejected with a message for each wrong field."""
    values = typed.read(params, entries)
    try:
        return jobs.submit(lab, kind, values)
    except InvalidInput as error:
        raise typed.rejected_by_service(params, error) from None


def prefilled(
    lab: Lab, request: Request, kind: JobKind, params: type[P], again: str | None
) -> tuple[dict[str, tuple[str, ...]], JobView | None]:
    """Entries from an earlier job, then from the address; and that job."""
    entries: dict[str, tuple[str, ...]] = {}
    job = None
    if again is not None:
        job = jobs.get(lab, again)
        if job.kind is not kind:
            raise InvalidInput(
                f"That is no {kind} job.", hint="Open the job and choose “Run again” there."
            )
        entries = typed.entries_of(params, job.params)
    return entries | typed.posted_entries(params, request.query_params), job


def started(
    lab: Lab,
    request: Request,
    kind: JobKind,
    params: type[P],
    entries: Entries,
    page: Callable[[Lab, Entries, JobView | None, Messages], Context],
) -> Response:
    """To the job that was typed, or to the same form with what is wrong."""
    try:
        job = submit(lab, kind, params, entries)
    except typed.Rejected as rejected:
        return render(request, page(lab, entries, None, rejected.messages), status=422)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.get("/train")
def train(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.TRAIN, TrainParams, again)
    return render(request, _train_page(lab, entries, job, {}))


@router.post("/train")
def start_training(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = typed.posted_entries(TrainParams, posted)
    return started(lab, request, JobKind.TRAIN, TrainParams, entries, _train_page)


def _train_page(
    lab: Lab, entries: Entries, again: JobView | None, errors: Messages
) -> TrainContext:
    known = dataset_choices(lab)
    choices = {
        "dataset": known,
        "teacher": model_choices(all_models(lab)),
        "continue_from": resumable_jobs(lab),
    }
    form = forms.form(TrainParams, entries=entries, choices=choices, errors=errors)
    links = presets.links("/train", presets.training_presets(), kept(entries, _OWN_OF_TRAINING))
    return TrainContext(form=form, has_dataset=bool(known), presets=links, again=again)


_OWN_OF_TRAINING = ("name", "dataset", "recipe", "teacher", "seed")


def kept(entries: Entries, names: Sequence[str]) -> Entries:
    """Of what is typed, what no preset says."""
    return {name: entries[name] for name in names if name in entries}


@router.get("/evaluate")
def evaluate(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.EVALUATE, EvaluateParams, again)
    if "dataset" not in entries:
        chosen = models.by_id(lab, entries.get("models", ())[:1])
        for view in chosen.values():
            dataset = datasets.fitting(datasets.all_datasets(lab), view.card)
            entries["dataset"] = () if dataset is None else (dataset.id,)
    return render(request, _evaluate_page(lab, entries, job, {}))


@router.post("/evaluate")
def start_evaluation(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = typed.posted_entries(EvaluateParams, posted)
    return started(lab, request, JobKind.EVALUATE, EvaluateParams, entries, _evaluate_page)


def _evaluate_page(
    lab: Lab, entries: Entries, again: JobView | None, errors: Messages
) -> EvaluateContext:
    known = model_choices(all_models(lab))
    choices = {"dataset": dataset_choices(lab), "models": known, "sources": known}
    form = forms.form(EvaluateParams, entries=entries, choices=choices, errors=errors)
    own = kept(entries, ("models", "dataset"))
    links = presets.links("/evaluate", presets.EVALUATION_PRESETS, own)
    return EvaluateContext(form=form, has_model=bool(known), presets=links, again=again)
