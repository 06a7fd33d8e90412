"""Datasets: import, draw or download one; look at samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from app.admission.routes import ByMethod, asks
from app.contracts.changes import Changes
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.listings import Shelf
from app.contracts.params import Id, ImportParams, Source
from app.contracts.views import DatasetView, JobView, Page
from app.deps import LabDep
from app.errors import InvalidInput, TooLarge
from app.services import datasets, jobs, ownership
from app.services.accounts import LONGEST_NAME
from app.services.lab import Lab
from app.web.forms.entries import Rejected, posted_entries
from app.web.forms.form import FormView, form_of
from app.web.pages.as_code import code_of_form
from app.web.pages.inputs import IdPath, PageNumber, Posted
from app.web.pages.keeping import changes
from app.web.pages.sent_files import SentFile, file_to_name, sent_file, submit_with_file
from app.web.pages.submitting import AgainFrom, Entries, prefilled, submit
from app.web.render import Context, render


@dataclass(frozen=True)
class Download:
    """A dataset that torchvision fetches."""

    source: str
    label: str


@dataclass(frozen=True)
class DatasetsContext(Context):
    """The datasets, and the ways to add one."""

    template: ClassVar[str] = "datasets.html"

    datasets: Page[DatasetView]
    """Those on the shelf, newest first."""
    shelf: Shelf
    """The list, the archive or the bin."""
    shelves: tuple[tuple[str, str, bool], ...]
    """Label, address and whether it is this one."""
    owners: tuple[str, ...]
    """The accounts to choose from; none where the lab has none."""
    owner: str
    """Whose are shown; empty: everybody's."""
    undo: str
    """The id of the dataset that was just deleted; empty where none was."""
    imports: tuple[JobView, ...]
    """Imports that are not finished."""
    archive: FormView
    """Import an archive; made from `ImportParams`."""
    drawn: FormView
    """Draw `shapes`; made from `ImportParams`."""
    downloads: tuple[Download, ...]
    """Datasets that torchvision fetches."""
    classes: str
    """What was typed, one a line; outside text."""
    classes_error: str
    """What is wrong with it."""
    file_error: str
    """What is wrong with the archive that was sent."""
    sent: SentFile | None
    """An archive that is here already."""
    max_upload_mb: int
    """The largest archive accepted."""


@dataclass(frozen=True)
class DatasetContext(Context):
    """One dataset with samples of each class."""

    template: ClassVar[str] = "dataset.html"

    dataset: DatasetView
    """With the report of its import."""
    trained: int
    """How many models were trained on it."""


router = APIRouter(prefix="/datasets", route_class=ByMethod)

_NAMES = {
    Source.SHAPES: "Shapes",
    Source.CIFAR10: "CIFAR-10",
    Source.CIFAR100: "CIFAR-100",
    Source.SVHN: "SVHN",
}
_UNSHOWN = ("source", "upload", "preview", "classes")
_OF_ARCHIVES = ("order", "encoding")
Position = Annotated[int, Path(ge=0, le=100_000)]
ImageNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("")
def all_datasets(
    lab: LabDep,
    request: Request,
    shelf: Shelf = Shelf.LIST,
    page: PageNumber = 1,
    owner: Annotated[str, Query(max_length=LONGEST_NAME)] = "",
    undo: Annotated[Id | None, Query()] = None,
    again: AgainFrom = None,
) -> Response:
    """The datasets; with an earlier import, its parameters are in the form that it came from."""
    entries, earlier = prefilled(lab, request, JobKind.IMPORT, ImportParams, again)
    archive = earlier is not None and entries.get("source") == (Source.ARCHIVE.value,)
    return _page(
        lab, request, shelf=shelf, page=page, owner=owner, undo=undo or "",
        archive=entries if archive else None,
        drawn=entries if earlier is not None and not archive else None,
    )  # fmt: skip


@router.post("")
def add(lab: LabDep, request: Request, posted: Posted) -> Response:
    """Start an import; one click without a name draws or fetches a dataset under its own name."""
    entries = _entries(posted)
    if entries.get("source") == (Source.ARCHIVE.value,):
        return _add_archive(lab, request, posted, entries)
    if "name" not in entries:
        entries["name"] = (_free_name(lab, entries),)
    try:
        job = submit(lab, JobKind.IMPORT, ImportParams, entries)
    except Rejected as rejected:
        return _page(lab, request, drawn=entries, errors=rejected.messages)
    return _to(job)


@router.post("/code")
@asks
def code(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment with what starts the job of one of the forms from elsewhere."""
    entries = _entries(posted)
    archive = entries.get("source") == (Source.ARCHIVE.value,)
    file = file_to_name(lab, posted, entries, "archive.zip") if archive else ""
    return code_of_form(request, JobKind.IMPORT, entries, file)


def _entries(posted: FormData) -> dict[str, tuple[str, ...]]:
    """What was typed; the classes one a line."""
    entries = posted_entries(ImportParams, posted)
    lines = [line.strip() for text in entries.pop("classes", ()) for line in text.splitlines()]
    classes = tuple(line for line in lines if line)
    return entries | ({"classes": classes} if classes else {})


def _add_archive(lab: Lab, request: Request, posted: FormData, entries: Entries) -> Response:
    try:
        file = posted.get("file")
        return _to(submit_with_file(lab, JobKind.IMPORT, ImportParams, file, entries))
    except Rejected as rejected:
        return _page(lab, request, archive={**entries, **rejected.sent}, errors=rejected.messages)
    except (InvalidInput, TooLarge) as error:
        message = f"{error.detail} {error.hint}".strip()
        return _page(lab, request, archive=entries, errors={"file": message}, status=error.status)


def _to(job: JobView) -> Response:
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


def _free_name(lab: Lab, entries: Entries) -> str:
    """`Shapes`, or `Shapes 2` and so on where there is one already or is about to be."""
    source = next(iter(entries.get("source", ())), "")
    base = _NAMES.get(Source(source), source) if source in set(Source) else source
    taken = datasets.names_like(lab, base)
    taken |= {str(job.params.get("name")) for job in _unfinished(lab)}
    names = (base if i == 1 else f"{base} {i}" for i in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _unfinished(lab: Lab) -> tuple[JobView, ...]:
    open_states = [JobStatus.QUEUED, JobStatus.RUNNING]
    return jobs.page(lab, kinds=[JobKind.IMPORT], statuses=open_states, page_size=50).items


def _page(
    lab: Lab,
    request: Request,
    *,
    shelf: Shelf = Shelf.LIST,
    page: int = 1,
    owner: str = "",
    undo: str = "",
    archive: Entries | None = None,
    drawn: Entries | None = None,
    errors: Mapping[str, str] | None = None,
    status: int = 422,
) -> Response:
    messages = dict(errors or {})
    file_error, classes_error = messages.pop("file", ""), messages.pop("classes", "")
    context = DatasetsContext(
        datasets=datasets.page(lab, shelf=shelf, owner=owner, page=page),
        owners=ownership.accounts(lab),
        owner=owner,
        shelf=shelf,
        shelves=_shelves(lab, shelf, owner),
        undo=undo,
        imports=_unfinished(lab),
        archive=_form(
            "archive",
            archive,
            messages,
            (*_UNSHOWN, "train_per_class"),
            wrong_beside=bool(file_error or classes_error),
        ),
        drawn=_form("drawn", drawn, messages, (*_UNSHOWN, *_OF_ARCHIVES)),
        downloads=tuple(
            Download(source.value, label)
            for source, label in _NAMES.items()
            if source is not Source.SHAPES
        ),
        classes="\n".join((archive or {}).get("classes", ())),
        classes_error=classes_error,
        file_error=file_error,
        sent=sent_file(lab, archive or {}),
        max_upload_mb=lab.settings.max_upload_mb,
    )
    return render(request, context, status=status if errors else 200)


def _shelves(lab: Lab, current: Shelf, owner: str) -> tuple[tuple[str, str, bool], ...]:
    labels = {
        Shelf.LIST: "List",
        Shelf.ARCHIVE: "Archive",
        Shelf.BIN: f"Bin ({datasets.binned(lab):,})",
    }

    def address(shelf: Shelf) -> str:
        facts = {"shelf": "" if shelf is Shelf.LIST else shelf, "owner": owner}
        said = urlencode({name: value for name, value in facts.items() if value})
        return f"/datasets?{said}" if said else "/datasets"

    return tuple((label, address(shelf), shelf is current) for shelf, label in labels.items())


def _form(
    prefix: str,
    entries: Entries | None,
    errors: Mapping[str, str],
    without: Sequence[str],
    *,
    wrong_beside: bool = False,
) -> FormView:
    return form_of(
        ImportParams,
        entries=entries or {},
        offers={},
        errors={} if entries is None else errors,
        without=without,
        prefix=prefix,
        wrong_beside=wrong_beside,
    )


@router.get("/{dataset_id}")
def one(lab: LabDep, request: Request, dataset_id: IdPath) -> Response:
    view, trained = datasets.get(lab, dataset_id), datasets.trained_on(lab, dataset_id)
    return render(request, DatasetContext(dataset=view, trained=trained))


@router.post("/{dataset_id}/change")
def change(lab: LabDep, dataset_id: IdPath, posted: Posted) -> Response:
    datasets.change(lab, dataset_id, changes(posted, Changes))
    return RedirectResponse(f"/datasets/{dataset_id}", status_code=303)


@router.post("/{dataset_id}/delete")
def delete(lab: LabDep, dataset_id: IdPath) -> Response:
    datasets.delete(lab, dataset_id)
    return RedirectResponse(f"/datasets?undo={dataset_id}", status_code=303)


@router.post("/{dataset_id}/restore")
def restore(lab: LabDep, dataset_id: IdPath) -> Response:
    datasets.restore(lab, dataset_id)
    return RedirectResponse(f"/datasets/{dataset_id}", status_code=303)


@router.get("/{dataset_id}/samples/{class_index}.png")
def samples(lab: LabDep, dataset_id: IdPath, class_index: Position) -> Response:
    """Test images of one class, side by side."""
    return _png(datasets.sample_sheet(lab, dataset_id, class_index))


@router.get("/{dataset_id}/samples/{class_index}/{position}.png")
def sample(lab: LabDep, dataset_id: IdPath, class_index: Position, position: Position) -> Response:
    """One image of that sheet."""
    return _png(datasets.sample(lab, dataset_id, class_index, position))


@router.get("/{dataset_id}/test/{number}.png")
def test_image(lab: LabDep, dataset_id: IdPath, number: ImageNumber) -> Response:
    """One image of the test part."""
    return _png(datasets.test_image(lab, dataset_id, number))


def _png(data: bytes) -> Response:
    """A dataset never changes, so its pictures may be kept."""
    return Response(
        data, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"}
    )
