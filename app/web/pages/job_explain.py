"""The page of a live attack, which leads to the live page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.views import JobView
from app.services.lab import Lab
from app.web.pages.job_frame import JobContext, Kind, Way, frame


@dataclass(frozen=True)
class LiveAttackContext(JobContext):
    """A live attack, which the live page shows."""

    template: ClassVar[str] = "job_explain.html"


def _page(lab: Lab, job: JobView) -> LiveAttackContext:
    return LiveAttackContext(**frame(lab, job, KIND))


KIND = Kind(
    noun="live attack", page=_page, way=Way("/api/live", "live", file="image", flat="attack")
)
