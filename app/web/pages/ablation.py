"""An ablation as its page shows it: the table, what is reported elsewhere, and its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.contracts.results import AblationChild, AblationRow, AblationTable, Column, Spread
from app.contracts.units import format_255
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import ablations
from app.web.charts.ablation import every_seed
from app.web.charts.base import Figure
from app.web.pages.inputs import IdPath
from app.web.render import Context, render


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
    job, table = ablations.get(lab, job_id)
    return render(request, AblationNewsContext(job=job, ablation=ablation_view(table)))


def ablation_view(table: AblationTable) -> AblationView:
    """What the page shows of a table."""
    rows = tuple(_rows(table))
    seeds = every_seed(table)
    return AblationView(
        columns=table.columns,
        rows=rows,
        epsilon=format_255(table.epsilon),
        source=table.reported[0].label if table.reported else "",
        empty=all(cell is None for row in rows for cell in row.cells),
        figures={} if seeds is None else {"seeds": seeds},
    )


def _rows(table: AblationTable) -> Iterator[RowView]:
    for number, row in enumerate(table.rows):
        is_last = all(other.recipe is not row.recipe for other in table.rows[number + 1 :])
        yield RowView(
            label=row.label,
            hue=row.recipe.record.hue,
            cells=tuple(row.figures.get(column.measure) for column in table.columns),
            children=row.children,
            reported=_reported(table, row, table.columns) if is_last else None,
        )


def _reported(
    table: AblationTable, row: AblationRow, columns: Sequence[Column]
) -> ReportedRow | None:
    """What the paper reports of a recipe, as far as the table has its columns."""
    shown = {column.measure for column in columns}
    found = [r for r in table.reported if r.recipe is row.recipe and r.measure in shown]
    if not found:
        return None
    values = {one.measure: one.value for one in found}
    return ReportedRow(
        variants=tuple(one.variant for one in found),
        values=tuple(values.get(column.measure) for column in columns),
    )
