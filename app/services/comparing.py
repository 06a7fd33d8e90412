"""Evaluations side by side, on the very images that all of them measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import EvaluateParams
from app.contracts.results import (
    Accuracy,
    Compared,
    Comparison,
    DifferingImage,
    EvaluationResult,
    Light,
    ModelFigures,
    PairedTest,
)
from app.errors import InvalidInput
from app.services import paired
from app.services.caveats import caveats
from app.services.evaluations import Finished, all_finished, of_lab_01
from app.services.lab import Lab

MAX_JOBS = 8
MAX_ROWS = 8
"""Models side by side, over all evaluations."""
MAX_DIFFERING = 60
"""Images shown on which they differ; how many there are is told in any case."""
_ALL_PAIRS = 4
"""With so many rows every pair is tested; with more, the first against each other."""

_Quantity = Literal["clean", "robust"]
_CLEAN: _Quantity = "clean"
_ROBUST: _Quantity = "robust"
_Bools = NDArray[np.bool_]
_Ints = NDArray[np.int64]


class _Row(NamedTuple):
    """One model of one evaluation; arrays (N,) over the N shared images, by rising number."""

    job: str
    params: EvaluateParams
    figures: ModelFigures
    light: Light
    clean: _Bools
    robust: _Bools
    clean_prediction: _Ints
    worst_prediction: _Ints


def compare(lab: Lab, job_ids: Sequence[str]) -> Comparison:
    """Every model of the evaluations, in the order given, on the images that they share.

    Raises NotFound; Conflict where a job is unfinished or left nothing; InvalidInput where jobs are
    no evaluations, repeat, measured other datasets, share no image, or hold too few or too many
    models.
    """
    if len(job_ids) > MAX_JOBS or len(set(job_ids)) < len(job_ids):
        raise InvalidInput(
            f"A comparison takes up to {MAX_JOBS} evaluations, each once.",
            hint="Leave some out.",
            field="job",
        )
    return side_by_side(all_finished(lab, job_ids))


def side_by_side(found: Sequence[Finished]) -> Comparison:
    """The comparison of finished evaluations. Raises InvalidInput as `compare` does."""
    for one in found:
        _check_comparable(one)
        _check_same_dataset(found[0], one)
    models = sum(len(one.result.models) for one in found)
    if not 2 <= models <= MAX_ROWS:
        raise InvalidInput(
            f"A comparison is between 2 and {MAX_ROWS} models; these evaluations hold {models}.",
            hint="Add another evaluation." if models < 2 else "Compare fewer at a time.",
            field="job",
        )
    numbers = _shared_images([one.result for one in found])
    rows = [row for one in found for row in _rows(one, numbers)]
    tests = _tests(rows)
    labels = _at(found[0].result, found[0].result.labels, numbers)
    differing, total = _differing(rows, numbers, labels)
    return Comparison(
        dataset=found[0].result.dataset,
        classes=found[0].result.classes,
        images=len(numbers),
        compared=tuple(_compared(row) for row in rows),
        tests=tests,
        differing=differing,
        differing_total=total,
        caveats=tuple(
            caveats([one.result for one in found], shared=len(numbers), tests=len(tests))
        ),
    )


def _check_comparable(one: Finished) -> None:
    if of_lab_01(one.result):
        raise InvalidInput(
            f"“{one.job.title}” was measured by lab 0.1, which kept no outcome of each image.",
            hint="Run it again with the same parameters.",
            field="job",
        )


def _check_same_dataset(first: Finished, other: Finished) -> None:
    ours, theirs = first.result.dataset, other.result.dataset
    if ours.sha256 != theirs.sha256:
        raise InvalidInput(
            f"“{first.job.title}” measured the dataset “{ours.name}” ({ours.sha256[:8]}), "
            f"“{other.job.title}” measured “{theirs.name}” ({theirs.sha256[:8]}).",
            hint="Only figures on the same images can be compared.",
            field="job",
        )


def _shared_images(results: Sequence[EvaluationResult]) -> _Ints:
    """Numbers (N,) of the images that all of them measured, rising."""
    shared = set(results[0].image_numbers).intersection(*(r.image_numbers for r in results[1:]))
    if not shared:
        raise InvalidInput(
            "These evaluations share no image.",
            hint="Evaluate with the same seed: then the smaller sample lies in the larger one.",
            field="job",
        )
    return np.asarray(sorted(shared), dtype=np.int64)


def _at(result: EvaluationResult, values: Sequence[int], numbers: _Ints) -> _Ints:
    """What a result says of its images, for those with the given numbers, (N,)."""
    own = np.asarray(result.image_numbers, dtype=np.int64)
    order = np.argsort(own)
    positions = order[np.searchsorted(own[order], numbers)]
    return np.asarray(values, dtype=np.int64)[positions]


def _rows(one: Finished, numbers: _Ints) -> Iterator[_Row]:
    result = one.result
    labels = _at(result, result.labels, numbers)
    for figures in result.models:
        assert figures.outcomes is not None
        assert figures.verdict is not None
        clean_prediction = _at(result, figures.outcomes.clean_prediction, numbers)
        yield _Row(
            job=one.job.id,
            params=result.params,
            figures=figures,
            light=figures.verdict.light,
            clean=clean_prediction == labels,
            robust=_at(result, figures.outcomes.broken_by, numbers) == -1,
            clean_prediction=clean_prediction,
            worst_prediction=_at(result, figures.outcomes.worst_prediction, numbers),
        )


def _compared(row: _Row) -> Compared:
    return Compared(
        job=row.job,
        model=row.figures.model,
        name=row.figures.name,
        clean=Accuracy.of(int(row.clean.sum()), len(row.clean)),
        robust=Accuracy.of(int(row.robust.sum()), len(row.robust)),
        attack=row.params.attack,
        further=row.params.further,
        epsilon=row.params.epsilon,
        light=row.light,
    )


def _tests(rows: Sequence[_Row]) -> tuple[PairedTest, ...]:
    """Robust accuracy first: it is what evaluations are about."""
    pairs = list(combinations(range(len(rows)), 2))
    if len(rows) > _ALL_PAIRS:
        pairs = [(0, j) for j in range(1, len(rows))]
    tables = [
        *((_ROBUST, i, j, paired.Table.of(rows[i].robust, rows[j].robust)) for i, j in pairs),
        *((_CLEAN, i, j, paired.Table.of(rows[i].clean, rows[j].clean)) for i, j in pairs),
    ]
    p_values = [paired.mcnemar(table.only_first, table.only_second) for *_, table in tables]
    adjusted = paired.holm(p_values)
    return tuple(
        _test(*table, p, adjusted_p)
        for table, p, adjusted_p in zip(tables, p_values, adjusted, strict=True)
    )


def _test(
    quantity: _Quantity, i: int, j: int, table: paired.Table, p: float, adjusted: float
) -> PairedTest:
    d = paired.difference(table)
    return PairedTest(
        quantity=quantity,
        first=i,
        second=j,
        difference=d.value,
        low=d.low,
        high=d.high,
        only_first=table.only_first,
        only_second=table.only_second,
        p_value=p,
        p_adjusted=adjusted,
    )


def _differing(
    rows: Sequence[_Row], numbers: _Ints, labels: _Ints
) -> tuple[tuple[DifferingImage, ...], int]:
    """Images on whose robustness the rows differ, the most even splits first."""
    robust = np.stack([row.robust for row in rows])  # (R, N)
    standing = robust.sum(axis=0)  # (N,)
    dissent = np.minimum(standing, len(rows) - standing)
    which = np.flatnonzero(dissent)
    order = which[np.argsort(-dissent[which], kind="stable")][:MAX_DIFFERING]
    shown = tuple(
        DifferingImage(
            number=int(numbers[i]),
            label=int(labels[i]),
            clean_predictions=tuple(int(row.clean_prediction[i]) for row in rows),
            worst_predictions=tuple(int(row.worst_prediction[i]) for row in rows),
            robust=tuple(bool(row.robust[i]) for row in rows),
        )
        for i in order
    )
    return shown, len(which)
