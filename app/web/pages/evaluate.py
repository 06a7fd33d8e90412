"""New evaluation jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from app.admission.routes import ByMethod, asks
from app.contracts.access import Need
from app.contracts.attacks import Method
from app.contracts.changes import JobChanges
from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams
from app.contracts.placement import Priority
from app.contracts.results import ModelCard
from app.contracts.views import JobView, ModelView
from app.deps import LabDep
from app.errors import InvalidInput, field_errors
from app.services import datasets, evaluations, jobs, models
from app.services.lab import Lab
from app.services.remedies import remedy
from app.web.forms import entries as typed
from app.web.forms import presets
from app.web.forms.choices import known_models, offered_datasets
from app.web.forms.conditions import When
from app.web.forms.form import FieldView, FormView, GroupView, form_of
from app.web.forms.presets import PresetLink
from app.web.pages.as_code import code_of_form
from app.web.pages.evaluation_doubts import origin_of
from app.web.pages.inputs import Posted
from app.web.pages.submitting import (
    AgainFrom,
    Entries,
    Messages,
    estimated,
    kept,
    prefilled,
    shown_priority,
    submit,
    with_priority,
)
from app.web.render import Context, render


@dataclass(frozen=True)
class EvaluateContext(Context):
    """The form of a new evaluation job, in three steps."""

    template: ClassVar[str] = "evaluate.html"

    form: FormView
    """Made from `EvaluateParams`."""
    models: tuple[FieldView, ...]
    """Its fields that the first step asks for."""
    strength: tuple[FieldView, ...]
    """Those of the second step."""
    more: tuple[GroupView, ...]
    """All others, which few need."""
    more_open: bool
    """Whether one of these is wrong, or not as in the job that filled the form."""
    has_model: bool
    """Whether there is anything to evaluate."""
    has_dataset: bool
    """Whether there is anything to evaluate on."""
    unmatched: ModelCard | None
    """Of a chosen model that no dataset of the lab fits."""
    black_boxes: tuple[str, ...]
    """The ids of the offered models that only answer."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the form."""
    again: JobView | None
    """The job whose parameters fill the form."""
    called: str
    """What the evaluation is to be called; outside text."""
    called_error: str
    """What is wrong with that."""
    priority: str
    """Before which others it is to run; outside text."""


router = APIRouter(route_class=ByMethod)

_MODELS = ("models", "dataset")
_STRENGTH = ("images", "epsilon", "attack.norm")
_CALLED = "called"


@router.get("/evaluate")
def evaluate(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.EVALUATE, EvaluateParams, again)
    if "dataset" not in entries:
        first = models.by_id(lab, entries.get("models", ())[:1])
        for view in first.values():
            dataset = datasets.fitting(lab, view.card)
            entries["dataset"] = () if dataset is None else (dataset.id,)
    views = models.by_id(lab, entries.get("models", ()))
    if "attack.method" not in entries and _lacking(Need.GRADIENTS, views):
        hard = _lacking(Need.SCORES, views)
        entries["attack.method"] = (Method.HOP_SKIP_JUMP if hard else Method.SQUARE,)
    elif "attention" not in entries and _lacking(Need.FEATURES, views):
        entries["attention"] = ()
    return render(request, _evaluate_page(lab, entries, job, {}))


@router.post("/evaluate")
def start_evaluation(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = with_priority(typed.posted_entries(EvaluateParams, posted), posted)
    called = str(posted.get(_CALLED, "")).strip()
    try:
        JobChanges(name=called)
    except ValidationError as error:
        messages = {_CALLED: field_errors(error.errors())[0][1]}
        page = _evaluate_page(lab, entries, None, messages, called=called)
        return render(request, page, status=422)
    try:
        job = submit(lab, JobKind.EVALUATE, EvaluateParams, entries, name=called)
    except typed.Rejected as rejected:
        page = _evaluate_page(lab, entries, None, rejected.messages, called=called)
        return render(request, page, status=422)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.post("/evaluate/mend")
def mend(lab: LabDep, posted: Posted) -> Response:
    """Start the evaluation that answers doubts about an earlier one."""
    done = evaluations.finished(lab, str(posted.get("job", "")))
    checks = tuple(dict.fromkeys(str(check) for check in posted.getlist("check")))
    found = remedy(checks, done.result, origin_of(lab, *done).test_images)
    if found is None:
        raise InvalidInput(
            "No other parameters mend this.", hint="Open the evaluation again.", field="check"
        )
    job = jobs.submit(lab, JobKind.EVALUATE, found.params)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.post("/evaluate/estimate")
@asks
def estimate(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment that says how long what is typed would take."""
    return estimated(lab, request, EvaluateParams, typed.posted_entries(EvaluateParams, posted))


@router.post("/evaluate/code")
@asks
def code(request: Request, posted: Posted) -> Response:
    """The fragment with what starts the job of the form from elsewhere."""
    called = str(posted.get(_CALLED, "")).strip()
    entries = with_priority(typed.posted_entries(EvaluateParams, posted), posted)
    return code_of_form(request, JobKind.EVALUATE, entries, name=called)


def _evaluate_page(
    lab: Lab, entries: Entries, again: JobView | None, errors: Messages, *, called: str = ""
) -> EvaluateContext:
    known = known_models(lab, *typed.asked(entries, "models"))
    held = offered_datasets(lab, *typed.asked(entries, "dataset"))
    offers = {
        "dataset": held,
        "models": known.offer,
        "sources": known_models(
            lab, *typed.asked(entries, "sources"), giving=(Need.GRADIENTS,)
        ).offer,
    }
    messages = {name: said for name, said in errors.items() if name != _CALLED}
    called_error = errors.get(_CALLED, "")
    form = form_of(
        EvaluateParams,
        entries=entries,
        offers=offers,
        errors=messages,
        earlier={} if again is None else typed.entries_of(EvaluateParams, again.params),
        wrong_beside=bool(called_error),
    )
    views = {view.id: view for view in known.views}
    form = _fitting(form, views)
    more = _without(form.groups, {*_MODELS, *_STRENGTH})
    priority = shown_priority(entries)
    return EvaluateContext(
        form=form,
        models=_fields(form, _MODELS),
        strength=_fields(form, _STRENGTH),
        more=more,
        more_open=any(field.error or field.was for group in more for field in group.fields)
        or priority != Priority.NORMAL,
        has_model=bool(known.views),
        has_dataset=bool(held.choices),
        unmatched=_unmatched(lab, entries, known.views),
        black_boxes=_lacking(Need.GRADIENTS, views),
        presets=presets.links("/evaluate", presets.EVALUATION_PRESETS, kept(entries, _MODELS)),
        again=again,
        called=called or (again.name if again is not None else ""),
        called_error=called_error,
        priority=priority,
    )


def _fields(form: FormView, names: Sequence[str]) -> tuple[FieldView, ...]:
    by_name = {field.spec.name: field for field in form.fields}
    return tuple(by_name[name] for name in names)


def _without(groups: Sequence[GroupView], names: Collection[str]) -> tuple[GroupView, ...]:
    """The groups with what is left of them."""
    left = (
        replace(each, fields=tuple(f for f in each.fields if f.spec.name not in names))
        for each in groups
    )
    return tuple(group for group in left if group.fields)


def _lacking(need: Need, views: Mapping[str, ModelView]) -> tuple[str, ...]:
    """Those of these models that do not give it."""
    return tuple(id for id, view in views.items() if not view.card.gives(need))


def _fitting(form: FormView, views: Mapping[str, ModelView]) -> FormView:
    """The same form, which offers no attack that needs more than a chosen model gives."""

    def fitting(field: FieldView) -> FieldView:
        if field.spec.name not in ("attack.method", "further"):
            return field
        when = {}
        for method, condition in field.choice_when.items():
            lacking = _lacking(Method(method).record.needs, views)
            barred = When("models", lacking, none=True) if lacking else None
            when[method] = replace(condition, also=condition.also or barred)
        return replace(field, choice_when=when)

    groups = (replace(group, fields=tuple(map(fitting, group.fields))) for group in form.groups)
    return replace(form, groups=tuple(groups))


def _unmatched(lab: Lab, entries: Entries, views: Sequence[ModelView]) -> ModelCard | None:
    """The card of the first chosen model, where the lab has no images for it."""
    chosen = next((view for view in views if view.id in entries.get("models", ())), None)
    if chosen is None or datasets.fitting(lab, chosen.card) is not None:
        return None
    return chosen.card
