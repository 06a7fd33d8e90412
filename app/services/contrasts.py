"""The rows of a design, each beside the one it is compared with, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import Method
from app.contracts.results import (
    AblationRow,
    AblationTable,
    AttackRow,
    Contrast,
    EvaluationResult,
    SeedChange,
    Survival,
)
from app.services import paired
from app.store import job_queries
from app.store.db import Database
from app.store.files import Files

_STANDS = -1
"""Of `Outcomes.broken_by`: no attack broke the image."""
_Bools = NDArray[np.bool_]


class _Record(NamedTuple):
    """What one evaluation says of each image."""

    numbers: NDArray[np.int64]
    """Which images, (N,)."""
    stages: Mapping[Survival, _Bools]
    """Of whom it is true, (N,); stages that were measured."""


class _Pair(NamedTuple):
    """One seed in two rows."""

    row: int
    seed: int
    stage: Survival
    table: paired.Table


def contrasts(
    database: Database, files: Files, table: AblationTable, beside: Sequence[int | None]
) -> tuple[Contrast, ...]:
    """Every row of a design, as far as it is measured.

    Args:
        beside: for each row the one that it is compared with, from 0.
    """
    measured = [child.evaluation for row in table.rows for child in row.children]
    names = job_queries.result_names(database, [each for each in measured if each is not None])
    paths = {evaluation: files.result(name) for evaluation, name in names.items()}
    records = [dict(_records(files, paths, row)) for row in table.rows]
    pairs = [pair for row, other in enumerate(beside) for pair in _pairs(records, row, other)]
    values = [paired.mcnemar(pair.table.only_first, pair.table.only_second) for pair in pairs]
    changes: dict[tuple[int, Survival], list[SeedChange]] = defaultdict(list)
    for pair, p, adjusted in zip(pairs, values, paired.holm(values), strict=True):
        changes[pair.row, pair.stage].append(_change(pair, p, adjusted))
    return tuple(
        Contrast(
            label=row.label,
            beside=beside[number],
            shares=_shares(list(records[number].values())),
            changes={
                stage: tuple(changes[number, stage])
                for stage in Survival
                if (number, stage) in changes
            },
        )
        for number, row in enumerate(table.rows)
    )


def _records(
    files: Files, paths: Mapping[str, Path], row: AblationRow
) -> Iterator[tuple[int, _Record]]:
    """By seed, of the evaluations that left a result; `paths`: theirs."""
    for child in row.children:
        if child.evaluation is not None and child.evaluation in paths:
            # The table, too, leaves out what cannot be read.
            with suppress(FileNotFoundError, ValueError):
                yield child.seed, _record(files, paths[child.evaluation])


@lru_cache(maxsize=256)
def _record(files: Files, path: Path) -> _Record:
    """A result never changes; pages of running ablations ask for it every few seconds.

    Raises FileNotFoundError and ValueError for what cannot be read.
    """
    result = EvaluationResult.model_validate_json(files.here(path).read_bytes())
    (model,) = result.models
    if model.outcomes is None:
        raise ValueError("a result of lab 0.1")
    broken_by = np.asarray(model.outcomes.broken_by)
    stages = {
        stage: (broken_by == _STANDS) | (broken_by > last)
        for stage, last in _last_attacks(model.attacks)
    }
    if Survival.AUTOATTACK in stages:
        stages[Survival.FALL] = stages[Survival.PGD] & ~stages[Survival.AUTOATTACK]
    return _Record(np.asarray(result.image_numbers), stages)


def _last_attacks(attacks: Sequence[AttackRow]) -> Iterator[tuple[Survival, int]]:
    """Which attack ends each stage, by its number from 1."""
    numbered = list(enumerate(attacks, start=1))
    for stage, method in ((Survival.PGD, Method.PGD), (Survival.CW, Method.CW)):
        yield from ((stage, number) for number, attack in numbered if attack.method is method)
    parts = [number for number, attack in numbered if attack.part_of_autoattack]
    yield from ((Survival.AUTOATTACK, number) for number in parts[-1:])


def _pairs(records: Sequence[dict[int, _Record]], row: int, other: int | None) -> Iterator[_Pair]:
    """Each stage of each seed that both rows have, where they measured the same images."""
    if other is None:
        return
    for seed, here in records[row].items():
        before = records[other].get(seed)
        if before is not None and np.array_equal(before.numbers, here.numbers):
            for stage in before.stages.keys() & here.stages.keys():
                counts = paired.Table.of(before.stages[stage], here.stages[stage])
                yield _Pair(row, seed, stage, counts)


def _change(pair: _Pair, p_value: float, p_adjusted: float) -> SeedChange:
    found = paired.difference(pair.table)
    return SeedChange(
        seed=pair.seed,
        difference=found.value,
        low=found.low,
        high=found.high,
        only_before=pair.table.only_first,
        only_here=pair.table.only_second,
        p_value=p_value,
        p_adjusted=p_adjusted,
    )


def _shares(records: Sequence[_Record]) -> dict[Survival, float]:
    return {
        stage: fmean(float(record.stages[stage].mean()) for record in records)
        for stage in Survival
        if records and all(stage in record.stages for record in records)
    }
