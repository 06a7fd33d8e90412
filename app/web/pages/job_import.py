"""The page of a job that imports a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from app.contracts.params import ImportParams
from app.contracts.results import ImportResult
from app.contracts.views import JobView
from app.services.lab import Lab
from app.web.forms.entries import entries_of
from app.web.pages.job_frame import JobContext, Kind, Way, opened
from app.web.pages.sent_files import sent_file


@dataclass(frozen=True)
class ImportContext(JobContext):
    """The import of a dataset."""

    template: ClassVar[str] = "job_import.html"

    imported: ImportResult | None
    """What it left."""
    confirm: tuple[tuple[str, str], ...]
    """After a preview, as long as the file is here: the fields of a form that imports it."""


def _page(lab: Lab, job: JobView) -> ImportContext:
    result, frame = opened(lab, job, KIND, ImportResult)
    return ImportContext(**frame, imported=result, confirm=tuple(_confirm(lab, job)))


def _confirm(lab: Lab, job: JobView) -> Iterator[tuple[str, str]]:
    """The fields of the form that imports what was looked at."""
    entries = entries_of(ImportParams, job.params)
    if entries.pop("preview", ()) and sent_file(lab, entries) is not None:
        for name, values in entries.items():
            text = "\n".join(values)
            if text:
                yield name, text


KIND = Kind(
    noun="dataset import",
    page=_page,
    way=Way("/api/datasets", "import_dataset", file="file", told_by_file="source"),
    form="/datasets",
    once=True,
)
