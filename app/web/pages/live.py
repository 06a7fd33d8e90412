"""The live view: the form for an image and an attack; scripts send it and show what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.contracts.jobs import JobKind
from app.contracts.params import ExplainParams, Recipe
from app.contracts.results import Picture
from app.contracts.views import DatasetView, ModelView
from app.deps import LabDep
from app.errors import InvalidInput
from app.services import datasets, jobs, models, showcase
from app.services.lab import Lab
from app.web.forms.choices import known_models, newest_models
from app.web.forms.entries import asked, entries_of, posted_entries
from app.web.forms.form import FieldView, form_of
from app.web.render import Context, render


@dataclass(frozen=True)
class SampleSet:
    """Test images of one dataset, one a class."""

    dataset: str
    name: str
    """Outside text."""
    classes_number: int
    """Among the lists of classes in the page's settings."""
    images: tuple[tuple[str, str], ...]
    """Class (outside text) and address of each image."""


@dataclass(frozen=True)
class LiveContext(Context):
    """The live view: an image, two models, an attack."""

    template: ClassVar[str] = "live.html"

    fields: dict[str, FieldView]
    """Made from `ExplainParams`, by name."""
    ready: bool
    """Whether there is a model to attack."""
    examples: tuple[Picture, ...]
    """Pictures of free licence to try."""
    samples: tuple[SampleSet, ...]
    """Test images to try, a set for each dataset."""
    job: str
    """The id of an earlier explain job to show; empty for none."""
    given: str
    """Address of a test image to begin with; empty for none."""
    settings: dict[str, Any]
    """What the script needs: the colour table of attention maps, and the classes of each model."""


router = APIRouter()

_SAMPLE_SETS = 4
_SAMPLE_CLASSES = 10


@router.get("/live")
def live(
    lab: LabDep,
    request: Request,
    job: Annotated[str, Query(pattern=r"^([0-9a-f]{32})?$")] = "",
    dataset: Annotated[str, Query(pattern=r"^([0-9a-f]{32})?$")] = "",
    number: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """`dataset` and `number` name a test image to begin with."""
    newest = newest_models(lab)
    entries = _likely_pair(lab, newest)
    if job:
        entries |= _entries_of_job(lab, job)
    entries |= posted_entries(ExplainParams, request.query_params)
    known = {name: known_models(lab, *asked(entries, name)) for name in ("teacher", "student")}
    form = form_of(
        ExplainParams,
        entries=entries,
        offers={name: found.offer for name, found in known.items()},
        without=("upload",),
    )
    views = {view.id: view for found in known.values() for view in found.views}
    lists = list(dict.fromkeys(view.card.classes for view in views.values()))
    context = LiveContext(
        fields={field.spec.name: field for field in form.fields},
        ready=bool(newest),
        examples=showcase.examples(lab),
        samples=_samples(datasets.all_datasets(lab), lists),
        job=job,
        given=f"/datasets/{dataset}/test/{number}.png" if dataset else "",
        settings={
            "magma": magma(),
            "classes": lists,
            "classes_of": {id: lists.index(view.card.classes) for id, view in views.items()},
        },
    )
    return render(request, context)


def _entries_of_job(lab: Lab, job_id: str) -> dict[str, tuple[str, ...]]:
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.EXPLAIN:
        raise InvalidInput("That job is no live attack.", hint="Open it from the dashboard.")
    return entries_of(ExplainParams, job.params)


def _likely_pair(lab: Lab, views: Sequence[ModelView]) -> dict[str, tuple[str, ...]]:
    """The newest student and its teacher; else the newest clean model of its classes, or alone.

    Of a training's two models the best epoch's, and models of this lab before those that came
    with it.
    """
    best = [view for view in views if view.card.kept == "best"]
    best.sort(key=lambda view: view.card.origin == "shipped")
    clean = [view for view in best if view.card.recipe is Recipe.CLEAN]
    student = next((v for v in best if v.card.recipe is not Recipe.CLEAN), None)
    student = student or next(iter(clean), None)
    if student is None:
        return {}
    named = student.card.teacher
    own = None if named is None else models.by_id(lab, [named.id]).get(named.id)
    fitting = [view for view in clean if view.card.classes == student.card.classes]
    teacher = own or next(iter(fitting), None)
    pair = {"teacher": teacher, "student": student}
    return {name: (view.id,) for name, view in pair.items() if view is not None}


def _samples(views: Sequence[DatasetView], lists: list[tuple[str, ...]]) -> tuple[SampleSet, ...]:
    fitting = [view for view in views if view.report.classes in lists]
    return tuple(_sample_set(view, lists) for view in fitting[:_SAMPLE_SETS])


def _sample_set(view: DatasetView, lists: list[tuple[str, ...]]) -> SampleSet:
    shown = enumerate(view.report.classes[:_SAMPLE_CLASSES])
    return SampleSet(
        dataset=view.id,
        name=view.name,
        classes_number=lists.index(view.report.classes),
        images=tuple((name, f"/datasets/{view.id}/samples/{k}/0.png") for k, name in shown),
    )


@lru_cache
def magma() -> str:
    """The colour table of attention maps: 256 colours as `rrggbb`, one after the other."""
    from plotly.colors import sample_colorscale  # only once, and only for this page

    colours = sample_colorscale("Magma", [i / 255 for i in range(256)], colortype="tuple")
    return "".join(f"{round(255 * c):02x}" for colour in colours for c in colour)
