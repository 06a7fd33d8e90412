"""The page of a job that imports a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.results import ImportModelResult
from app.contracts.views import JobView
from app.services.lab import Lab
from app.web.pages.job_frame import JobContext, Kind, Way, opened


@dataclass(frozen=True)
class ImportedModelContext(JobContext):
    """The import of a model."""

    template: ClassVar[str] = "job_import_model.html"

    imported: ImportModelResult | None
    """What it left."""


def _page(lab: Lab, job: JobView) -> ImportedModelContext:
    result, frame = opened(lab, job, KIND, ImportModelResult)
    return ImportedModelContext(**frame, imported=result)


KIND = Kind(
    noun="model import",
    page=_page,
    way=Way("/api/models", "import_model", file="file"),
    form="/models/import",
    once=True,
)
