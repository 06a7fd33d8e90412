"""The rows that a training's parameters name, also for a process that opens no database."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy.orm.attributes import instance_state

from app.contracts.params import TrainParams
from app.store.db import Database
from app.store.tables import DatasetRow, ModelRow
from worker import registry


class Named(NamedTuple):
    """What is trained on, and whom the student learns from or starts as."""

    dataset: DatasetRow
    teacher: ModelRow | None
    """None where it has no part in the training."""

    @classmethod
    def of(cls, database: Database, params: TrainParams) -> Named:
        """Raises JobError where one of them is gone."""
        dataset = registry.dataset_row(database, params.dataset)
        if params.teacher is None or not params.uses_teacher:
            return cls(dataset, None)
        return cls(dataset, registry.model_row(database, params.teacher))

    def as_json(self) -> list[dict[str, Any] | None]:
        return [None if row is None else _columns(row) for row in self]

    @classmethod
    def from_json(cls, values: list[Any]) -> Named:
        dataset, teacher = values
        return cls(DatasetRow(**dataset), None if teacher is None else ModelRow(**teacher))


def _columns(row: DatasetRow | ModelRow) -> dict[str, Any]:
    """What was read of a row."""
    read = {column.name for column in row.__table__.columns} - instance_state(row).unloaded
    return {name: getattr(row, name) for name in sorted(read)}
