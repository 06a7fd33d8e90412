"""The page of an ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.views import JobView
from app.services import ablations
from app.services.lab import Lab
from app.web.pages.ablation import AblationView, view_of
from app.web.pages.job_frame import JobContext, Kind, Way, frame


@dataclass(frozen=True)
class AblationContext(JobContext):
    """An ablation, while it runs and after."""

    template: ClassVar[str] = "job_ablation.html"

    ablation: AblationView | None
    """The table as it is known now; None where it cannot be read any more."""


def _page(lab: Lab, job: JobView) -> AblationContext:
    framed = frame(lab, job, KIND)
    if framed["unread"]:
        return AblationContext(**framed, ablation=None)
    return AblationContext(**framed, ablation=view_of(lab, ablations.get(lab, job.id)))


KIND = Kind(
    noun="ablation",
    page=_page,
    way=Way("/api/jobs", "ablation", by_name="training.dataset"),
    form="/ablation",
)
