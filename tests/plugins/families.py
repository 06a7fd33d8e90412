"""Ablations in a store, and their jobs as workers would end them, without training anything."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from app.ablations import lifecycle
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, EvaluateParams, Method, TrainParams
from app.contracts.results import (
    Accuracy,
    AttackRow,
    Environment,
    EvaluationResult,
    Lineage,
    ModelCard,
    ModelFigures,
    Outcomes,
)
from app.store import jobs
from app.store.db import Database
from app.store.files import Files
from app.store.jobs import Claim
from app.store.tables import JobRow, ModelRow

DATASET, TEACHER = "d" * 32, "7" * 32
HELD = 1000.0
STANDS = -1
ENVIRONMENT = Environment(code_version="0", torch="0", device="cpu", threads=1, seconds=1.0)


def ablation_params(**changes: Any) -> AblationParams:
    """Clean and AGKD-BML, two seeds each, every model measured."""
    training = {"name": "shared", "dataset": DATASET, "recipe": "agkd_bml", "teacher": TEACHER}
    values = {"name": "Nets", "recipes": ("clean", "agkd_bml"), "seeds": (0, 1)}
    changes["training"] = training | changes.get("training", {})
    return AblationParams.model_validate({**values, **changes})


def add_ablation(database: Database, params: AblationParams) -> str:
    """Write it with its trainings; returns its id."""
    parent = jobs.queued(JobKind.ABLATION, f"Ablation {params.name}", params)
    jobs.add(database, parent, lifecycle.trainings(parent.id, params))
    return parent.id


def take(database: Database, job_id: str, *, lease_s: float = HELD) -> Claim:
    claim = jobs.claim(database, job_id, lease_s=lease_s)
    assert claim is not None
    return claim


def fail(database: Database, claim: Claim, why: str = "It broke.") -> None:
    failure = {"title": "The job failed", "detail": why, "hint": "Mend it."}
    jobs.settle(database, claim, JobStatus.FAILED, failure=failure)


def succeed(
    database: Database, files: Files, claim: Claim, shares: Mapping[str, int] | None = None
) -> None:
    """End a training with a model, or an evaluation with figures: images of 100 that are right."""
    if claim.kind is JobKind.TRAIN:
        model = _model(claim, shares or {"clean": 90, "pgd": 40})
        jobs.settle(database, claim, JobStatus.SUCCEEDED, rows=[model])
        return
    result = _evaluation(claim, shares or {"clean": 80, "pgd": 30, "fgsm": 40, "cw": 28, "aa": 25})
    file = files.write_result(claim.job_id, result)
    jobs.settle(database, claim, JobStatus.SUCCEEDED, result_file=file)


def run_all(database: Database, files: Files, parent_id: str) -> None:
    """Let every job succeed, the parent following each."""
    while waiting := children_of(database, parent_id, JobStatus.QUEUED):
        succeed(database, files, take(database, waiting[0].id))
        lifecycle.advance(database, files, parent_id)


def children_of(database: Database, parent_id: str, *statuses: JobStatus) -> list[JobRow]:
    """In the order in which they were submitted."""
    with database.reading() as session:
        query = select(JobRow).where(JobRow.parent_id == parent_id)
        rows = session.scalars(query.order_by(JobRow.created_at, JobRow.id)).all()
    return [row for row in rows if not statuses or row.status in statuses]


def _model(claim: Claim, shares: Mapping[str, int]) -> ModelRow:
    params = TrainParams.model_validate(claim.params)
    card = ModelCard(
        name=params.name,
        architecture=params.architecture,
        parameters=1,
        classes=("cat", "dog"),
        image_size=32,
        dataset=Lineage(id=params.dataset, name="Pets", sha256="0" * 64),
        teacher=None,
        params=params,
        selection="highest validation accuracy",
        epoch=1,
        validation_clean=Accuracy.of(shares["clean"], 100),
        validation_robust=Accuracy.of(shares["pgd"], 100) if params.recipe.is_robust else None,
        environment=ENVIRONMENT,
    )
    return ModelRow(
        id=uuid.uuid4().hex,
        name=card.name,
        job_id=claim.job_id,
        created_at=time.time(),
        dataset_id=None,
        sha256="0" * 64,
        size_bytes=1,
        card=card.model_dump(mode="json"),
    )


def _evaluation(claim: Claim, shares: Mapping[str, int]) -> EvaluationResult:
    params = EvaluateParams.model_validate(claim.params)

    def row(method: Method, name: str, *, alone: bool = True, part: bool = False) -> AttackRow:
        share = Accuracy.of(shares[name], 100)
        return AttackRow(
            method=method, part_of_autoattack=part, attacked=1, broken=0, worst_case=share,
            alone=share if alone else None, largest=0.03, seconds=0.0,
        )  # fmt: skip

    attacks = [row(Method.PGD, "pgd"), row(Method.FGSM, "fgsm")]
    if Method.CW in params.further:
        attacks.append(row(Method.CW, "cw"))
    if Method.AUTOATTACK in params.further:
        attacks.append(row(Method.APGD_CE, "cw", alone=False, part=True))
        attacks.append(row(Method.SQUARE, "aa", alone=False, part=True))
        attacks.append(row(Method.NOISE, "aa", alone=False))
    (model,) = params.models
    clean = Accuracy.of(shares["clean"], 100)
    figures = ModelFigures(
        model=model, name="m", sha256="0" * 64, clean=clean, attacks=tuple(attacks),
        against_epsilon=(), against_steps=(), outcomes=_outcomes(shares["clean"], attacks),
    )  # fmt: skip
    dataset = Lineage(id=params.dataset, name="Pets", sha256="0" * 64)
    return EvaluationResult(
        params=params, dataset=dataset, images=100, models=(figures,), environment=ENVIRONMENT,
        image_numbers=tuple(range(100)), labels=(0,) * 100, classes=("cat", "dog"),
    )  # fmt: skip


def _outcomes(clean: int, attacks: Sequence[AttackRow]) -> Outcomes:
    """Of 100 images: the last ones are wrong from the start, those before them fall first."""
    broken_by = [STANDS] * clean + [0] * (100 - clean)
    for number, attack in enumerate(attacks, start=1):
        standing = round(100 * attack.worst_case.value)
        broken_by[standing:] = [number if by == STANDS else by for by in broken_by[standing:]]
    worst = tuple(int(by != STANDS) for by in broken_by)
    clean_prediction = tuple(int(by == 0) for by in broken_by)
    return Outcomes(
        clean_prediction=clean_prediction, worst_prediction=worst, broken_by=tuple(broken_by)
    )
