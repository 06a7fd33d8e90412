"""Evaluations side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.admission.routes import ByMethod
from app.contracts.params import Id
from app.contracts.results import Comparison
from app.deps import LabDep
from app.services import comparing

router = APIRouter(prefix="/comparisons", tags=["comparisons"], route_class=ByMethod)


@router.get("")
def compare(
    lab: LabDep,
    job: Annotated[
        list[Id],
        Query(
            min_length=1,
            max_length=comparing.MAX_JOBS,
            description="A finished evaluation; repeat it for each. One will do if it measured "
            "several models.",
        ),
    ],
) -> Comparison:
    """Models of finished evaluations on the images that all of them measured, at most eight.

    For each pair (of more than four models, for the first against each other one): the difference
    with its paired interval, McNemar's exact test, and p adjusted for all tests together; and the
    images on whose robustness they differ. `notes` say what makes the comparison uneven. 409 while
    an evaluation is unfinished; 422 where datasets differ or no image is shared.
    """
    return comparing.compare(lab, job)
