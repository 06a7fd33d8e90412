"""From what is known of every image to the figures of a result."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app.contracts.params import Method
from app.contracts.results import (
    Accuracy,
    AttackRow,
    ClassFigures,
    EmbeddingView,
    ModelFigures,
    Outcomes,
    Verdict,
    after_autoattack,
)
from worker.attacks.norms import slack
from worker.evaluation.arguments import norm_of
from worker.evaluation.curves import (
    against_epsilon,
    against_queries,
    against_restarts,
    against_steps,
)
from worker.evaluation.measurement import Measurement
from worker.evaluation.outcomes import MAIN, STANDS, WRONG
from worker.evaluation.verdict.evidence import Facts

_DECIMALS = 9


def model_figures(
    measured: Measurement, *, embedding: EmbeddingView | None, verdict: Verdict | None
) -> ModelFigures:
    """All figures of one model."""
    record, params, lineage = measured.record, measured.params, measured.target_model.lineage
    gallery = measured.candidates.gallery()  # the last that asks
    return ModelFigures(
        model=lineage.id,
        name=lineage.name,
        sha256=lineage.sha256,
        mapped=measured.target_model.mapped,
        asked=measured.asked,
        clean=measured.clean(),
        robust=measured.robust(),
        attacks=attack_rows(measured),
        against_epsilon=against_epsilon(record, params),
        against_steps=against_steps(record, params),
        against_restarts=against_restarts(record, params),
        against_queries=against_queries(record, params),
        per_class=_per_class(measured),
        confusion_clean=_confusion(measured, "predicted"),
        confusion_robust=_confusion(measured, "worst"),
        corruptions=measured.corruptions.figures(),
        attention=measured.attention.figures(),
        embedding=embedding,
        verdict=verdict,
        outcomes=_outcomes(measured),
        gallery=gallery,
    )


def attack_rows(measured: Measurement) -> tuple[AttackRow, ...]:
    """The table of attacks, in the order in which they ran."""
    broken_by = measured.record["broken_by"]
    correct, n = int((broken_by != WRONG).sum()), len(broken_by)
    rows, broken_so_far = [], 0
    for number, (entry, tally) in enumerate(
        zip(measured.entries, measured.tallies, strict=True), start=MAIN
    ):
        broken = int((broken_by == number).sum())
        broken_so_far += broken
        alone = None
        if number == MAIN or entry.sees_all:
            alone = Accuracy.of(correct - tally.broken_alone, n)
        rows.append(
            AttackRow(
                method=entry.method,
                source=None if entry.source is None else entry.source.lineage,
                part_of_autoattack=entry.part is not None,
                attacked=tally.attacked,
                broken=broken,
                worst_case=Accuracy.of(correct - broken_so_far, n),
                alone=alone,
                largest=tally.largest,
                seconds=round(tally.seconds, 3),
            )
        )
    return tuple(rows)


def facts_of(measured: Measurement) -> Facts:
    """What the verdict has to know of the whole run."""
    params, record, target_model = measured.params, measured.record, measured.target_model
    rows, success_check = attack_rows(measured), measured.success_check
    main, fgsm = rows[0].alone, next((r.alone for r in rows if r.method is Method.FGSM), None)
    assert main is not None
    doubled = None
    halved = None
    if params.attack.method.record.takes_steps:
        kept = record["first_break"] > 2 * params.attack.steps
        doubled = Accuracy.of(int(kept.sum()), len(record))
    elif params.attack.method.record.query_curve:
        kept = record["first_break"] > params.queries // 2
        halved = Accuracy.of(int(kept.sum()), len(record))
    return Facts(
        classes=len(measured.classes),
        commonest=float(np.bincount(record["y"]).max() / len(record)),
        epsilon=params.epsilon,
        attack=params.attack,
        clean=measured.clean(),
        robust=measured.robust(),
        main=main,
        doubled=doubled,
        halved=halved,
        fgsm=fgsm,
        only_fgsm=measured.only_fgsm,
        autoattack=after_autoattack(rows),
        attacks=rows,
        largest=math.inf if success_check.not_finite else max(row.largest for row in rows),
        slack=slack(params.epsilon, norm_of(params.attack)),
        out_of_range=success_check.out_of_range,
        not_finite=success_check.not_finite,
        disproved=success_check.disproved,
        kept=target_model.kept,
        recipe=target_model.recipe,
        teacher_recipe=target_model.teacher_recipe,
    )


def _per_class(measured: Measurement) -> tuple[ClassFigures, ...]:
    y, broken_by = measured.record["y"], measured.record["broken_by"]

    def accuracy(right: NDArray[np.bool_]) -> Accuracy | None:
        return Accuracy.of(int(right.sum()), len(right)) if len(right) else None

    return tuple(
        ClassFigures(
            clean=accuracy(broken_by[y == label] != WRONG),
            robust=accuracy(broken_by[y == label] == STANDS),
        )
        for label in range(len(measured.classes))
    )


def _confusion(measured: Measurement, predictions: str) -> tuple[tuple[int, ...], ...]:
    """Images of class i (row) that the model gives class j (column)."""
    count = len(measured.classes)
    pairs = measured.record["y"] * count + measured.record[predictions]
    table = np.bincount(pairs, minlength=count * count).reshape(count, count)
    return tuple(tuple(row) for row in table.tolist())


def _outcomes(measured: Measurement) -> Outcomes:
    record = measured.record
    minimal: tuple[float | None, ...] = ()
    if measured.params.minimal_epsilon:
        minimal = tuple(
            round(eps, _DECIMALS) if np.isfinite(eps) else None for eps in record["upper"].tolist()
        )
    return Outcomes(
        clean_prediction=tuple(record["predicted"].tolist()),
        worst_prediction=tuple(record["worst"].tolist()),
        broken_by=tuple(record["broken_by"].tolist()),
        minimal_epsilon=minimal,
    )
