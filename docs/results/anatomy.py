"""The tables of docs/results/anatomy.md, from ablations in a lab's data folder.

    PYTHONPATH=. python docs/results/anatomy.py LAB JOB...

LAB is the data folder of a lab; each JOB the id of an ablation with a design (“Take a method
apart”, “Steps of the training attack”), of which the rows that are measured by now are printed.
Figures of an attack alone and the worst case of all, each row beside the one that the design
compares it with, image by image and seed by seed, and what the paper reports of such rows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from app.ablations import tables
from app.contracts.params import AblationParams
from app.contracts.results import (
    AblationRow,
    AblationTable,
    Contrast,
    Measure,
    SeedChange,
    Survival,
    reported_in,
)
from app.services.contrasts import contrasts
from app.store import job_queries
from app.store.db import Database
from app.store.files import Files

ATTACKS = (Measure.CLEAN, Measure.PGD, Measure.CW, Measure.AUTOATTACK)
STAGES = {
    Survival.PGD: "stand under PGD",
    Survival.CW: "and CW",
    Survival.AUTOATTACK: "and AutoAttack",
    Survival.FALL: "fall in between",
}


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def head(*names: str, left: int) -> None:
    row(*names)
    row(*["---"] * left, *["---:"] * (len(names) - left))


def figures(table: AblationTable) -> None:
    """Every model: accuracies in per cent with their 95 % interval over images."""
    names = {column.measure: column.name for column in table.columns}
    shown = [measure for measure in ATTACKS if measure in names]
    head("row", "seed", *(names[measure] for measure in shown), "verdict", left=2)
    for line in table.rows:
        for child in line.children:
            cells = [_figure(line, measure, child.seed) for measure in shown]
            if cells != ["–"] * len(cells):
                verdict = "–" if child.light is None else child.light.value
                row(line.label, str(child.seed), *cells, verdict)


def _figure(line: AblationRow, measure: Measure, seed: int) -> str:
    spread = line.figures.get(measure)
    values = () if spread is None else spread.values
    found = next((one.accuracy for one in values if one.seed == seed), None)
    if found is None:
        return "–"
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def changes(found: Sequence[Contrast]) -> None:
    """Every row beside another one: shares in per cent, and differences in points."""
    stages = [stage for stage in Survival if any(stage in contrast.shares for contrast in found)]
    head("row", "beside", *(STAGES[stage] for stage in stages), left=2)
    for contrast in found:
        if contrast.shares:
            beside = "" if contrast.beside is None else found[contrast.beside].label
            cells = (_stage(contrast.shares.get(s), contrast.changes.get(s, ())) for s in stages)
            row(contrast.label, beside, *cells)


def _stage(share: float | None, found: Sequence[SeedChange]) -> str:
    if share is None:
        return "–"
    parts = [f"{100 * share:.1f}"]
    if len(found) > 1:
        parts.append(f"mean {100 * mean(one.difference for one in found):+.1f}")
    parts += [
        f"{100 * one.difference:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f}), "
        f"p {one.p_adjusted:.2g}"
        for one in found
    ]
    return "; ".join(parts)


def reported(params: AblationParams) -> None:
    """Never without what is not known of them."""
    for one in reported_in(params):
        steps = "" if one.training_steps is not None else "; with how many steps is not known"
        print(f"- {one.variant} {100 * one.value:.2f} %: {one.label}{steps}.")


def main(lab: Path, jobs: Sequence[str]) -> None:
    files, database = Files(lab), Database(f"sqlite:///{lab / 'lab.sqlite3'}")
    for job in jobs:
        parent = job_queries.get(database, job)
        if parent is None:
            raise SystemExit(f"{job}: there is no such job")
        params = AblationParams.model_validate(parent.params)
        table = tables.table(database, files, job, params)
        print(f"\n## {params.design.record.title}: {params.name} ({job})\n")
        figures(table)
        print()
        changes(contrasts(database, files, table, [line.beside for line in params.rows()]))
        print()
        reported(params)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
