"""An ablation with its children: which training is measured, and which is still to be."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from app.contracts.jobs import JobKind
from app.contracts.params import AblationParams
from app.contracts.stored import understood
from app.store.parents import Child, Parent
from app.store.tables import JobRow


def training_id(parent_id: str, row: int, seed: int) -> str:
    """The id of the training of one row and seed; whoever computes it gets the same."""
    return uuid.uuid5(uuid.UUID(parent_id), f"row {row}, seed {seed}").hex


def evaluation_id(training: str) -> str:
    """The id of the evaluation of a training's model: two who submit it write one row."""
    return uuid.uuid5(uuid.UUID(training), "evaluation").hex


@dataclass(frozen=True)
class Family:
    """An unfinished ablation with all that its next step depends on."""

    parent: JobRow
    trainings: tuple[Child, ...]
    """In the order of the table."""
    evaluations: dict[str, Child]
    """By their own id."""
    models: dict[str, str]
    """By training: its best model, once there is one and while the lab has it."""

    @classmethod
    def of(cls, parent: Parent) -> Self:
        children = parent.children
        return cls(
            parent=parent.row,
            trainings=tuple(child for child in children if child.kind == JobKind.TRAIN),
            evaluations={child.id: child for child in children if child.kind == JobKind.EVALUATE},
            models=parent.models,
        )

    @cached_property
    def params(self) -> AblationParams | None:
        """What was asked for; None where an earlier version of the lab asked otherwise."""
        return understood(AblationParams, self.parent.params)

    @property
    def measures(self) -> bool:
        """Whether models are measured at all."""
        return self.parent.params.get("measure") is not None

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
