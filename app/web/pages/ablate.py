"""A new ablation: the form, and how many trainings what is typed would take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod, asks
from app.contracts.access import Need
from app.contracts.jobs import JobKind
from app.contracts.params import NO_ID, AblationParams, Design, Recipe
from app.contracts.recipes import TEACHERS
from app.contracts.views import Estimate, JobView
from app.deps import LabDep
from app.services import datasets, estimates, models
from app.services.lab import Lab
from app.web.forms import entries as typed
from app.web.forms import presets
from app.web.forms.choices import Offer, known_models, offered_datasets
from app.web.forms.form import FormView, form_of
from app.web.forms.pairs import grid_choices
from app.web.forms.presets import PresetLink
from app.web.forms.specs import specs
from app.web.pages.as_code import code_of_form
from app.web.pages.inputs import Posted
from app.web.pages.job_params import REPLACED
from app.web.pages.submitting import (
    AgainFrom,
    Entries,
    Messages,
    kept,
    prefilled,
    shown_priority,
    started,
    with_priority,
)
from app.web.render import Context, render


@dataclass(frozen=True)
class AblateContext(Context):
    """The form of a new ablation."""

    template: ClassVar[str] = "ablate.html"

    form: FormView
    """Made from `AblationParams`."""
    has_dataset: bool
    """Whether there is anything to train on."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the shared settings."""
    again: JobView | None
    """The job whose parameters fill the form."""
    priority: str
    """Before which others its jobs are to run; outside text."""


@dataclass(frozen=True)
class AblationPlanContext(Context):
    """How many trainings what is typed would take, or why that cannot be said."""

    template: ClassVar[str] = "_plan.html"

    problems: tuple[str, ...] = ()
    """What is wrong or missing; may quote outside text. Then the rest means nothing."""
    rows: tuple[str, ...] = ()
    """Lines of the table to come."""
    seeds: int = 0
    """Trainings of each line."""
    trainings: int = 0
    """All of them."""
    epochs: int = 0
    """Of all trainings together."""
    evaluations: int = 0
    """How many models are measured on test images."""
    images: int = 0
    """Test images of each evaluation."""
    autoattack: bool = False
    """Whether they run AutoAttack."""
    much: bool = False
    """Whether to advise a smaller one first."""
    training: Estimate | None = None
    """What all trainings take; None where nothing like them has run here."""
    measuring: Estimate | None = None
    """The same of all evaluations."""


router = APIRouter(prefix="/ablation", route_class=ByMethod)

_OF_THE_PAPER = (
    Recipe.CLEAN, Recipe.PGD_AT, Recipe.SML, Recipe.AGKD, Recipe.BML, Recipe.AGKD_BML,
)  # fmt: skip
_OWN = ("name", "recipes", "grid", "own", "seeds", "training.dataset", "training.teacher")
"""What no preset says."""
_TEACHERS = 10
"""Clean models among which a teacher is looked for, the most accurate first."""
_MANY_EPOCHS = 150
"""Beyond them the page warns."""


@router.get("")
def page(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.ABLATION, AblationParams, again)
    return render(request, _page(lab, _likely(lab) | entries, job, {}))


@router.post("")
def start(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = with_priority(_named(posted), posted)
    return started(lab, request, JobKind.ABLATION, AblationParams, entries, _page)


@router.post("/code")
@asks
def code(request: Request, posted: Posted) -> Response:
    """The fragment with what starts the ablation of the form from elsewhere."""
    return code_of_form(request, JobKind.ABLATION, with_priority(_named(posted), posted))


@router.post("/plan")
@asks
def plan(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment that counts trainings while the form is filled in."""
    entries = _named(posted)
    named = {"name": "Unnamed", "training.name": "Unnamed", "training.dataset": NO_ID}
    for field, entry in named.items():
        if not any(entries.get(field, ())):
            entries[field] = (entry,)
    return render(request, _plan(lab, entries))


def _named(posted: typed.Posted) -> dict[str, tuple[str, ...]]:
    """What was typed, and what the settings that trainings share have to say before each training
    has a name and a recipe of its own.
    """
    entries = typed.posted_entries(AblationParams, posted)
    is_grid = next(iter(entries.get("design", ())), Design.GRID) == Design.GRID
    has_students = not is_grid or any(r not in TEACHERS for r in entries.get("recipes", ()))
    entries["training.name"] = entries.get("name", ())
    # Of the students, the one that reads most and needs no teacher.
    entries["training.recipe"] = (Recipe.BML if has_students else Recipe.CLEAN,)
    if not has_students:
        entries["training.teacher"] = ()
    return entries


def _page(lab: Lab, entries: Entries, again: JobView | None, errors: Messages) -> AblateContext:
    held = offered_datasets(lab, *typed.asked(entries, "training.dataset"))
    offers = {
        "training.dataset": held,
        "training.teacher": known_models(
            lab, *typed.asked(entries, "training.teacher"), giving=(Need.FEATURES,)
        ).offer,
        "grid": Offer(grid_choices()),
    }
    form = form_of(AblationParams, entries=entries, offers=offers, errors=errors, without=REPLACED)
    ways = presets.training_presets("training.", without=("recipe",))
    return AblateContext(
        form=form,
        has_dataset=bool(held.choices),
        presets=presets.links("/ablation", ways, kept(entries, _OWN)),
        again=again,
        priority=shown_priority(entries),
    )


def _likely(lab: Lab) -> dict[str, tuple[str, ...]]:
    """The recipes of the paper's own ablation; for a teacher the most accurate clean model of whose
    classes, in their order, the lab has training images, its own before those that came with it.
    """
    found = {"recipes": tuple(str(recipe) for recipe in _OF_THE_PAPER)}
    best_first = models.teachers(lab, limit=_TEACHERS)
    for teacher in best_first:
        dataset = datasets.to_train(lab, teacher.card)
        if dataset is not None:
            return found | {
                "training.teacher": (teacher.id,),
                "training.architecture": (teacher.card.architecture,),
                "training.dataset": (dataset.id,),
            }
    return found


def _plan(lab: Lab, entries: Entries) -> AblationPlanContext:
    try:
        params = typed.read(AblationParams, entries)
    except typed.Rejected as rejected:
        labels = {spec.name: spec.label for spec in specs(AblationParams)}
        return AblationPlanContext(
            problems=tuple(
                f"{labels[name]}: {message}" if name in labels else message
                for name, message in rejected.messages.items()
            )
        )
    trainings = params.trainings()
    epochs = sum(planned.params.epochs for planned in trainings)
    measure = params.measure
    training, measuring = estimates.of_ablation(lab, params)
    return AblationPlanContext(
        rows=tuple(params.label(row) for row in params.rows()),
        seeds=len(params.seeds),
        trainings=len(trainings),
        epochs=epochs,
        evaluations=0 if measure is None else len(trainings),
        images=0 if measure is None else measure.images,
        autoattack=measure is not None and measure.autoattack,
        much=epochs > _MANY_EPOCHS,
        training=training,
        measuring=measuring,
    )
