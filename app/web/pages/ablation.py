"""An ablation as its page shows it: the table, what is reported elsewhere, and its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.params import AblationParams
from app.contracts.results import (
    AblationChild,
    AblationTable,
    Column,
    Contrast,
    Reported,
    SeedChange,
    Spread,
    Survival,
    compares,
    reported_in,
)
from app.contracts.units import format_255
from app.contracts.views import JobView
from app.contracts.words import signed
from app.deps import LabDep
from app.services import ablations
from app.services.lab import Lab
from app.web.charts.ablation import every_seed
from app.web.charts.base import Figure
from app.web.pages.inputs import IdPath
from app.web.render import Context, render
from app.web.words import percent, probability


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
class ChangeView:
    """What one seed of a row changes."""

    seed: int
    points: str
    """`+1.2`."""
    interval: str
    """`−0.3 to +2.7`."""
    p_value: str
    """After Holm."""


@dataclass(frozen=True)
class StageView:
    """One stage of a row: how many images, and how many more than in the other row."""

    share: float | None
    changes: tuple[ChangeView, ...]


@dataclass(frozen=True)
class ContrastView:
    """A row of a design, beside the one it is compared with."""

    label: str
    hue: str
    beside: str
    """The label of the other row; empty for the first."""
    stages: tuple[StageView, ...]
    """One for each stage of the table."""


@dataclass(frozen=True)
class AblationView:
    """The table as it is known now."""

    columns: tuple[Column, ...]
    rows: tuple[RowView, ...]
    stages: tuple[str, ...]
    """Columns of the table of contrasts; empty where there is nothing to show."""
    contrasts: tuple[ContrastView, ...]
    """What each row of a design changes; empty for a grid, and before two rows are measured."""
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


router = APIRouter(prefix="/jobs", route_class=ByMethod)


@router.get("/{job_id}/ablation")
def ablation(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment with all that changes; pages fetch it while the job is unfinished."""
    found = ablations.get(lab, job_id)
    return render(request, AblationNewsContext(job=found.job, ablation=view_of(lab, found)))


def view_of(lab: Lab, ablation: ablations.Ablation) -> AblationView:
    """What the page shows of an ablation."""
    return ablation_view(ablation.params, ablation.table, ablations.contrasts_of(lab, ablation))


def ablation_view(
    params: AblationParams, table: AblationTable, contrasts: Sequence[Contrast] = ()
) -> AblationView:
    """What the page shows of a table, and of what its rows change."""
    found = reported_in(params)  # a stored table may have what is no longer said
    rows = tuple(_rows(params, table, found))
    seeds = every_seed(table)
    untold = tuple(one for one in found if one.training_steps is None)
    stages = [
        stage for stage in Survival if any(stage in contrast.changes for contrast in contrasts)
    ]
    names = _stage_names(params)
    return AblationView(
        columns=table.columns,
        rows=rows,
        stages=tuple(names[stage] for stage in stages),
        contrasts=tuple(_contrast(contrast, contrasts, rows, stages) for contrast in contrasts)
        if stages
        else (),
        epsilon=format_255(table.epsilon),
        source=found[0].label if found else "",
        untold="; ".join(f"{one.variant} {percent(one.value)}" for one in untold),
        empty=all(cell is None for row in rows for cell in row.cells),
        figures={} if seeds is None else {"seeds": seeds},
    )


def _stage_names(params: AblationParams) -> dict[Survival, str]:
    steps = 0 if params.measure is None else params.measure.steps
    return {
        Survival.PGD: f"stand under PGD-{steps}",
        Survival.CW: f"and CW-{steps}",
        Survival.AUTOATTACK: "and AutoAttack",
        Survival.FALL: "fall in between",
    }


def _contrast(
    contrast: Contrast,
    contrasts: Sequence[Contrast],
    rows: Sequence[RowView],
    stages: Sequence[Survival],
) -> ContrastView:
    return ContrastView(
        label=contrast.label,
        hue=next(row.hue for row in rows if row.label == contrast.label),
        beside="" if contrast.beside is None else contrasts[contrast.beside].label,
        stages=tuple(
            StageView(
                contrast.shares.get(stage),
                tuple(_change(one) for one in contrast.changes.get(stage, ())),
            )
            for stage in stages
        ),
    )


def _change(one: SeedChange) -> ChangeView:
    return ChangeView(
        seed=one.seed,
        points=signed(one.difference),
        interval=f"{signed(one.low)} to {signed(one.high)}",
        p_value=probability(one.p_adjusted),
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
