"""The live view: the form for an image and an attack; scripts send it and show what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod, asks
from app.contracts.access import Need
from app.contracts.attacks import ITERATIVE
from app.contracts.jobs import JobKind
from app.contracts.params import LARGEST_OF, MAX_OF, MOST_MODELS, ExplainParams, Norm
from app.contracts.results import Picture
from app.contracts.units import to_255
from app.contracts.views import DatasetView
from app.deps import LabDep
from app.errors import InvalidInput
from app.services import datasets, jobs, models, pairs, showcase
from app.services.lab import Lab
from app.services.uploads import MAX_IMAGE_BYTES
from app.web.charts import palette
from app.web.forms.choices import Offer, known_models
from app.web.forms.entries import asked, entries_of, posted_entries
from app.web.forms.form import FieldView, form_of
from app.web.forms.specs import UNIT_255, plain, specs
from app.web.pages.as_code import code_of_form
from app.web.pages.inputs import Posted
from app.web.pages.recipes import seniority
from app.web.pages.showcase_view import ShownBox, shown_box
from app.web.render import Context, render


@dataclass(frozen=True)
class SampleSet:
    """Images of one list of classes, one a class."""

    title: str
    """Has outside text."""
    classes_number: int
    """Among the lists of classes in the page's settings."""
    images: tuple[tuple[str, str], ...]
    """Class (outside text) and address of each image."""


@dataclass(frozen=True)
class LiveContext(Context):
    """The live view: an image, models, an attack."""

    template: ClassVar[str] = "live.html"

    fields: dict[str, FieldView]
    """Made from `ExplainParams`, by name."""
    ready: bool
    """Whether there is a model to attack, or may be beside those that were searched."""
    more_models: bool
    """Whether the lab has models that only a search finds."""
    examples: tuple[Picture, ...]
    """Pictures of free licence to try."""
    samples: tuple[SampleSet, ...]
    """Test images to try, a set for each dataset."""
    example: ShownBox | None
    """What the showcase has to show before the first attack; None with an image to begin with."""
    identities: Mapping[str, str]
    """The style sheet's name of a model's colour, by recipe."""
    job: str
    """The id of an earlier explain job to show; empty for none."""
    most: int
    """Models that are attacked at once."""
    chosen: bool
    """Whether the address says which models; else those that this browser used last go first."""
    given: str
    """Address of a test image to begin with; empty for none."""
    settings: dict[str, Any]
    """What the script needs: the models with their classes, and which are chosen."""


router = APIRouter(route_class=ByMethod)

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
    entries = _entries_of_job(lab, job) if job else {}
    entries |= posted_entries(ExplainParams, request.query_params)
    wished, search = asked(entries, "models")
    held = models.by_id(lab, wished) if wished else {}
    there = [model for model, view in held.items() if view.card.gives(Need.FEATURES)]
    chosen = [model for model in wished if model in there]
    if not chosen and not search:  # a search keeps what is chosen in the page that asks
        chosen = list(pairs.likely_pair(lab))
    known = known_models(lab, (*wished, *chosen), search, giving=(Need.FEATURES,))
    views = {view.id: view for view in known.views}
    chosen = chosen or [view.id for view in known.views[:1]]
    form = form_of(
        ExplainParams,
        entries=entries,
        offers={"models": known.offer, "attack.method": _attacks()},
        without=("upload",),
    )
    lists = list(dict.fromkeys(view.card.classes for view in known.views))
    context = LiveContext(
        fields={field.spec.name: field for field in form.fields},
        ready=bool(views or search),
        more_models=known.more,
        examples=showcase.examples(lab),
        samples=_samples(datasets.newest(lab), lists),
        example=None if job or dataset else shown_box(lab),
        identities=palette.IDENTITIES,
        job=job,
        most=MOST_MODELS,
        chosen=bool(wished),
        given=f"/datasets/{dataset}/test/{number}.png" if dataset else "",
        settings={
            "classes": lists,
            "models": [
                {
                    "id": choice.value,
                    "name": choice.label,
                    "group": choice.group,
                    "help": choice.help,
                    "classes": lists.index(views[choice.value].card.classes),
                    "seniority": seniority(views[choice.value]),
                }
                for choice in known.offer.choices
            ],
            "chosen": chosen,
            "most": MOST_MODELS,
            "most_bytes": MAX_IMAGE_BYTES,
            "largest": {norm.value: _largest(norm) for norm in Norm},
        },
    )
    return render(request, context)


def _attacks() -> Offer:
    """Those of steps: the view shows what each of them leads to."""
    steps = {method.value for method in ITERATIVE}
    (spec,) = (one for one in specs(ExplainParams) if one.name == "attack.method")
    return Offer(tuple(choice for choice in spec.choices if choice.value in steps))


def _largest(norm: Norm) -> dict[str, Any]:
    """How the largest budget is typed in a norm: the unit, the usual one, and the most."""
    if norm is Norm.LINF:
        most, usual = (round(to_255(of[norm]), 3) for of in (MAX_OF, LARGEST_OF))
        return {"unit": UNIT_255, "called": UNIT_255, "most": most, "usual": usual}
    return {"unit": "", "called": "length", "most": MAX_OF[norm], "usual": LARGEST_OF[norm]}


@router.post("/live/code")
@asks
def code(request: Request, posted: Posted) -> Response:
    """The fragment with what starts the attack of the form from elsewhere."""
    entries = posted_entries(ExplainParams, posted)
    if entries.get("attack.norm", (Norm.LINF,)) != (Norm.LINF,):
        # With an exponent a number is taken as it is, and not as 255ths.
        typed = entries.pop("max_epsilon", ())
        entries |= {"max_epsilon": (f"{typed[0]}e0",)} if typed else {}
    return code_of_form(request, JobKind.EXPLAIN, entries, "image.png")


def _entries_of_job(lab: Lab, job_id: str) -> dict[str, tuple[str, ...]]:
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.EXPLAIN:
        raise InvalidInput("That job is no live attack.", hint="Open it from the list of jobs.")
    entries = entries_of(ExplainParams, job.params)
    largest = job.params.get("max_epsilon")
    if largest is not None and entries.get("attack.norm") != (Norm.LINF,):
        entries["max_epsilon"] = (plain(largest),)
    return entries


def _samples(views: Sequence[DatasetView], lists: list[tuple[str, ...]]) -> tuple[SampleSet, ...]:
    fitting = [view for view in views if view.report.classes in lists]
    found = [_sample_set(view, lists) for view in fitting[:_SAMPLE_SETS]]
    drawn = showcase.drawn()
    if drawn in lists and all(view.report.classes != drawn for view in fitting):
        images = tuple((name, f"/static/drawn/{name}.png") for name in drawn)
        found.append(SampleSet("Shapes, drawn by the lab", lists.index(drawn), images))
    return tuple(found)


def _sample_set(view: DatasetView, lists: list[tuple[str, ...]]) -> SampleSet:
    shown = enumerate(view.report.classes[:_SAMPLE_CLASSES])
    return SampleSet(
        title=f"Test images of {view.name}",
        classes_number=lists.index(view.report.classes),
        images=tuple((name, f"/datasets/{view.id}/samples/{k}/0.png") for k, name in shown),
    )
