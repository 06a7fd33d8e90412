"""Datasets and models as finished jobs leave them, without running one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from app.contracts.params import TrainParams
from app.contracts.results import Accuracy, DatasetReport, Environment, Lineage, ModelCard
from app.services.lab import Lab
from app.store.tables import DatasetRow, ModelRow

CLASSES = ("cat", "dog", "ship")
WEIGHTS = b"weights"


def stock_dataset(lab: Lab, *, name: str = "Pets", classes: Sequence[str] = CLASSES) -> str:
    """Register a dataset; returns its id."""
    report = DatasetReport(
        classes=tuple(classes), image_size=32, train_images=900, test_images=30, checksum="0" * 64
    )
    row = DatasetRow(
        id=uuid.uuid4().hex,
        name=name,
        source="archive",
        job_id=uuid.uuid4().hex,
        created_at=time.time(),
        report=report.model_dump(mode="json"),
    )
    with lab.database.writing() as session:
        session.add(row)
    return row.id


def stock_model(
    lab: Lab,
    *,
    name: str = "Teacher",
    classes: Sequence[str] = CLASSES,
    architecture: str = "wrn-10-2",
    image_size: int = 32,
) -> str:
    """Register a clean model with (senseless) weights on disk; returns its id."""
    model_id, dataset_id = uuid.uuid4().hex, uuid.uuid4().hex
    card = ModelCard(
        name=name,
        architecture=architecture,
        parameters=1000,
        classes=tuple(classes),
        image_size=image_size,
        dataset=Lineage(id=dataset_id, name="Pets", sha256="0" * 64),
        teacher=None,
        params=TrainParams(name=name, dataset=dataset_id, architecture=architecture),
        selection="highest validation accuracy",
        epoch=1,
        validation_clean=Accuracy.of(9, 10),
        validation_robust=None,
        environment=Environment(code_version="0", torch="0", device="cpu", threads=1, seconds=1.0),
    )
    row = ModelRow(
        id=model_id,
        name=name,
        job_id=None,
        created_at=time.time(),
        dataset_id=dataset_id,
        sha256="0" * 64,
        size_bytes=len(WEIGHTS),
        card=card.model_dump(mode="json"),
    )
    lab.files.weights(model_id).write_bytes(WEIGHTS)
    with lab.database.writing() as session:
        session.add(row)
    return model_id


def train_body(dataset: str, **params: Any) -> dict[str, Any]:
    """The smallest request for a training job."""
    return {"kind": "train", "params": {"name": "Model", "dataset": dataset, **params}}
