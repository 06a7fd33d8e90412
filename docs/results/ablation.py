"""The tables of docs/results/ablation.md, from the evaluations in a lab's data folder.

    PYTHONPATH=. python docs/results/ablation.py LAB DATASET

LAB is the data folder of a lab, DATASET an id in it. Of each recipe and seed it takes the newest
evaluation that an ablation with default settings would have made, so the figures are those of an
ablation's table: each attack alone on all images, and AutoAttack as the worst case of all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.ablations.tables import figures_of
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationMeasure, TrainParams
from app.contracts.results import Accuracy, EvaluationResult, Measure, ModelCard, ModelSummary
from app.services.paired import Table, difference, holm, mcnemar
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow, ModelRow

COLUMNS = {
    Measure.CLEAN: "clean",
    Measure.FGSM: "FGSM",
    Measure.PGD: "PGD-20",
    Measure.CW: "CW-20",
    Measure.AUTOATTACK: "AutoAttack",
}
ORDER = ("Clean", "PGD-AT", "SML", "AGKD", "BML", "AGKD-BML", "AGKD-BML-7")
BASELINE = "PGD-AT"
STANDS = -1


class Measured(NamedTuple):
    """One model and its evaluation."""

    card: ModelCard
    figures: dict[Measure, Accuracy]
    stands: NDArray[np.bool_]
    """Which of the images no attack broke, (N,)."""
    light: str
    """The verdict."""
    evaluation: str
    """The job's id."""

    @property
    def name(self) -> str:
        assert self.card.params is not None
        return self.card.params.recipe_name

    @property
    def seed(self) -> int:
        assert self.card.params is not None
        return self.card.params.seed


def measured(lab: Path, dataset: str) -> Iterator[Measured]:
    """Newest evaluations first."""
    files, database = Files(lab), Database(f"sqlite:///{lab / 'lab.sqlite3'}")
    plain = TrainParams(name="Any", dataset=dataset)
    done = select(JobRow).where(
        JobRow.kind == JobKind.EVALUATE, JobRow.status == JobStatus.SUCCEEDED
    )
    with database.reading() as session:
        cards = {
            row.id: ModelCard.model_validate(row.card) for row in session.scalars(select(ModelRow))
        }
        jobs = session.scalars(done.order_by(JobRow.created_at.desc())).all()
    for job in jobs:
        result = EvaluationResult.model_validate_json(files.result(job.result_name).read_bytes())
        (model, *others) = result.models
        card = cards.get(model.model)
        if others or card is None or card.params is None:
            continue
        if result.params != AblationMeasure().of(model.model, plain):
            continue
        assert model.outcomes is not None
        assert model.verdict is not None
        yield Measured(
            card,
            figures_of(ModelSummary.of(model)),
            np.array(model.outcomes.broken_by) == STANDS,
            str(model.verdict.light),
            job.id,
        )


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def head(*names: str, left: int = 1) -> None:
    row(*names)
    row(*["---"] * left, *["---:"] * (len(names) - left))


def over_seeds(name: str, found: list[Measured]) -> None:
    cells = []
    for column in COLUMNS:
        shares = [100 * one.figures[column].value for one in found]
        spread = f" ± {stdev(shares):.1f}" if len(shares) > 1 else ""
        cells.append(f"{mean(shares):.1f}{spread}")
    row(name, *cells, str(len(found)))


def each(one: Measured) -> None:
    shown = (one.figures[column] for column in COLUMNS)
    cells = (f"{100 * a.value:.1f} ({100 * a.low:.1f}–{100 * a.high:.1f})" for a in shown)
    robust = one.card.validation_robust
    validation = "–" if robust is None else f"{100 * robust.value:.1f}"
    row(one.name, str(one.seed), *cells, validation, f"{one.card.epoch}", one.light)


def against_baseline(found: list[Measured]) -> None:
    """Differences of images that stand, seed by seed, with McNemar's exact test and Holm's p."""
    base = {one.seed: one for one in found if one.name == BASELINE}
    rows = []
    for one in found:
        if one.name in (BASELINE, "Clean") or one.seed not in base:
            continue
        table = Table.of(base[one.seed].stands, one.stands)
        rows.append((one, table, mcnemar(table.only_first, table.only_second)))
    adjusted = holm([p for *_, p in rows])
    for (one, table, _), p in zip(rows, adjusted, strict=True):
        d = difference(table)
        points = f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        row(one.name, str(one.seed), points, f"{table.only_second}, {table.only_first}", f"{p:.2g}")


def _place(name: str) -> tuple[int, str]:
    """Recipes of the paper in its order, then the others."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def main(lab: Path, dataset: str) -> None:
    newest: dict[tuple[str, int], Measured] = {}
    for one in measured(lab, dataset):
        newest.setdefault((one.name, one.seed), one)
    found = sorted(newest.values(), key=lambda one: (*_place(one.name), one.seed))
    head("recipe", *COLUMNS.values(), "seeds")
    for name, group in groupby(found, key=lambda one: one.name):
        over_seeds(name, list(group))
    print()
    head("recipe", "seed", *COLUMNS.values(), "PGD-10, validation", "epoch", "verdict")
    for one in found:
        each(one)
    print()
    head("recipe", "seed", f"points beside {BASELINE}", "stand alone", "p")
    against_baseline(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
