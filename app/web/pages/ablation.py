"""An ablation as its page shows it: the table, what is reported elsewhere, and its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.contracts.params import AblationParams
from app.contracts.results import (
    AblationChild,
    AblationTable,
    Column,
    Reported,
    Spread,
    compares,
    reported_in,
)
from app.contracts.units import format_255
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import ablations
from app.web.charts.ablation import every_seed
from app.web.charts.base import Figure
from app.web.pages.inputs import IdPath
from app.web.render import Context, render
from app.web.words import percent


@dataclass(frozen=True)
class ReportedRow:
    """Figures of the paper for one recipe."""

    variants: tuple[str, ...]
    """What its source says of each figure."""
    values: tuple[float | None, ...]
    """One for each column; shares."""


@dataclass(frozen=True)
class RowView:
    """One line of the table, and what the paper reports under it."""

    label: str
    """Outside text."""
    hue: str
    cells: tuple[Spread | None, ...]
    """One for each column; None where no seed has a figure yet."""
    children: tuple[AblationChild, ...]
    reported: ReportedRow | None


@dataclass(frozen=True)
class AblationView:
    """The table as it is known now."""

    columns: tuple[Column, ...]
    rows: tuple[RowView, ...]
    epsilon: str
    """The budget of every attack on test images."""
    source: str
    """What must be said wherever a figure of the paper is shown; empty where none is."""
    untold: str
    """Figures of the paper under the same attacks whose training is not told; empty without any."""
    empty: bool
    """Whether no training has left a figure yet."""
    figures: dict[str, Figure]
    """The chart of every seed as Plotly JSON, by name; empty where there is none yet."""


@dataclass(frozen=True)
class AblationNewsContext(Context):
    """The table, the chart and the jobs of an ablation, which its page fetches anew."""

    template: ClassVar[str] = "_ablation_news.html"

    job: JobView
    """The ablation, in any state."""
    ablation: AblationView
    """The table as it is known now."""


router = APIRouter(prefix="/jobs")


@router.get("/{job_id}/ablation")
def ablation(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment with all that changes; pages fetch it while the job is unfinished."""
    job, params, table = ablations.get(lab, job_id)
    return render(request, AblationNewsContext(job=job, ablation=ablation_view(params, table)))


def ablation_view(params: AblationParams, table: AblationTable) -> AblationView:
    """What the page shows of a table."""
    found = reported_in(params)  # a stored table may have what is no longer said
    rows = tuple(_rows(params, table, found))
    seeds = every_seed(table)
    untold = tuple(one for one in found if one.training_steps is None)
    return AblationView(
        columns=table.columns,
        rows=rows,
        epsilon=format_255(table.epsilon),
        source=found[0].label if found else "",
        untold="; ".join(f"{one.variant} {percent(one.value)}" for one in untold),
        empty=all(cell is None for row in rows for cell in row.cells),
        figures={} if seeds is None else {"seeds": seeds},
    )


def _rows(
    params: AblationParams, table: AblationTable, found: Sequence[Reported]
) -> Iterator[RowView]:
    fitting = [
        [one for one in found if compares(one, params, row.recipe, row.changes)]
        for row in table.rows
    ]
    for number, row in enumerate(table.rows):
        later = [one for others in fitting[number + 1 :] for one in others]
        yield RowView(
            label=row.label,
            hue=row.recipe.record.hue,
            cells=tuple(row.figures.get(column.measure) for column in table.columns),
            children=row.children,
            reported=_reported([one for one in fitting[number] if one not in later], table.columns),
        )


def _reported(found: Sequence[Reported], columns: Sequence[Column]) -> ReportedRow | None:
    """What the paper reports of the same recipe, steps, budget and attacks."""
    if not found:
        return None
    values = {one.measure: one.value for one in found}
    return ReportedRow(
        variants=tuple(one.variant for one in found),
        values=tuple(values.get(column.measure) for column in columns),
    )
