"""The page of a job that releases a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.results import ReleaseResult
from app.contracts.views import JobView
from app.services.lab import Lab
from app.web.pages.job_frame import JobContext, Kind, Way, opened


@dataclass(frozen=True)
class ReleaseContext(JobContext):
    """A release of a model."""

    template: ClassVar[str] = "job_release.html"

    released: ReleaseResult | None
    """What it left."""


def _page(lab: Lab, job: JobView) -> ReleaseContext:
    result, frame = opened(lab, job, KIND, ReleaseResult)
    return ReleaseContext(**frame, released=result)


KIND = Kind(noun="release", page=_page, way=Way("/api/jobs", "release"))
