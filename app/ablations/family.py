"""Ablations as they stand: unfinished parents with what becomes of their children."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contracts.jobs import PARENTS, JobKind, JobStatus
from app.store.tables import JobRow, ModelRow

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


def training_id(parent_id: str, row: int, seed: int) -> str:
    """The id of the training of one row and seed; whoever computes it gets the same."""
    return uuid.uuid5(uuid.UUID(parent_id), f"row {row}, seed {seed}").hex


def evaluation_id(training: str) -> str:
    """The id of the evaluation of a training's model: two who submit it write one row."""
    return uuid.uuid5(uuid.UUID(training), "evaluation").hex


@dataclass(frozen=True)
class Child:
    """What is looked at of a training or an evaluation."""

    id: str
    kind: str
    status: str
    title: str
    failure: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return JobStatus(self.status).is_final


@dataclass(frozen=True)
class Family:
    """An unfinished parent with all that its next step depends on."""

    parent: JobRow
    trainings: tuple[Child, ...]
    """In the order of the table."""
    evaluations: dict[str, Child]
    """By their own id."""
    models: dict[str, str]
    """By training: its best model, once there is one and while the lab has it."""

    @property
    def measures(self) -> bool:
        """Whether models are measured at all."""
        return self.parent.params["measure"] is not None

    def everyone(self) -> Iterator[Child]:
        yield from self.trainings
        yield from self.evaluations.values()

    def unmeasured(self) -> tuple[Child, ...]:
        """Trainings whose evaluation is still to be submitted."""
        if self.parent.cancel_requested or not self.measures:
            return ()
        return tuple(
            each
            for each in self.trainings
            if each.id in self.models and evaluation_id(each.id) not in self.evaluations
        )

    def measured(self) -> int:
        """Of how many trainings nothing more is to be measured."""
        return sum(self._is_measured(each) for each in self.trainings)

    def _is_measured(self, training: Child) -> bool:
        evaluation = self.evaluations.get(evaluation_id(training.id))
        if evaluation is not None:
            return evaluation.is_final
        return training.is_final and training.id not in self.models


def families(session: Session, only: Sequence[str] | None) -> list[Family]:
    """Unfinished parents, or those among `only`, in three queries however many there are."""
    wanted = [JobRow.kind.in_(PARENTS), JobRow.status.in_(UNFINISHED)]
    if only is not None:
        wanted.append(JobRow.id.in_(only))
    parents = session.scalars(select(JobRow).where(*wanted)).all()
    if not parents:
        return []
    of_these = JobRow.parent_id.in_(select(JobRow.id).where(*wanted))
    children = session.execute(
        select(
            JobRow.parent_id, JobRow.id, JobRow.kind, JobRow.status, JobRow.title, JobRow.failure
        )
        .where(of_these)
        .order_by(JobRow.created_at, JobRow.id)
    ).all()
    best = best_of(select(JobRow.id).where(of_these))
    trained = session.execute(select(ModelRow.job_id, ModelRow.id).where(*best))
    models = {row.job_id: row.id for row in trained}
    children_of: dict[str, list[Child]] = {parent.id: [] for parent in parents}
    for parent_id, *facts in children:
        children_of[parent_id].append(Child(*facts))
    return [_family(parent, children_of[parent.id], models) for parent in parents]


def _family(parent: JobRow, children: Collection[Child], models: dict[str | None, str]) -> Family:
    trainings = tuple(child for child in children if child.kind == JobKind.TRAIN)
    return Family(
        parent=parent,
        trainings=trainings,
        evaluations={child.id: child for child in children if child.kind == JobKind.EVALUATE},
        models={each.id: models[each.id] for each in trainings if each.id in models},
    )


def best_of(trainings: Any) -> tuple[Any, ...]:
    """What is true of the best model of each training while it is not in the bin.

    Args:
        trainings: The query of the trainings' ids.
    """
    return (
        ModelRow.job_id.in_(trainings),
        ModelRow.deleted_at.is_(None),
        ModelRow.card["kept"].as_string() == "best",
    )
