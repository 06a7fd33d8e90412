"""The page of a job that imports a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.results import ImportResult
from app.contracts.views import JobView
from app.services.lab import Lab
from app.web.pages.job_frame import JobContext, Kind, Way, opened


@dataclass(frozen=True)
class ImportContext(JobContext):
    """The import of a dataset."""

    template: ClassVar[str] = "job_import.html"

    imported: ImportResult | None
    """What it left."""


def _page(lab: Lab, job: JobView) -> ImportContext:
    result, frame = opened(lab, job, KIND, ImportResult)
    return ImportContext(**frame, imported=result)


KIND = Kind(
    noun="dataset import",
    page=_page,
    way=Way("/api/datasets", "import_dataset", file="file", told_by_file="source"),
    form="/datasets",
    once=True,
)
