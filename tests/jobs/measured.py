"""Real images, and classifiers of them that take no training: a fitted head on a random body."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sqlalchemy import update
from torch import Tensor

from app.contracts.params import TrainParams
from app.contracts.results import Accuracy, DatasetReport, Environment, Lineage, ModelCard
from app.store.tables import DatasetRow, ModelRow
from tests.jobs.runs import open_lab
from tests.plugins.images import MINI
from worker import registry
from worker.data import Dataset, Wishes, import_archive, load_dataset
from worker.jobs.context import WorkerLab
from worker.models import Classifier, build


class Measured(NamedTuple):
    """A lab with CIFAR-10's smallest part and two models of it."""

    lab: WorkerLab
    dataset_id: str
    dataset: Dataset
    teacher: str
    student: str

    def model(self, model_id: str) -> Classifier:
        return registry.load_model(
            self.lab.files, registry.model_row(self.lab.database, model_id)
        ).requires_grad_(False)


def open_measured(folder: Path) -> Measured:
    """Import the archive, fit and register a teacher and a student."""
    lab = open_lab(folder)
    dataset_id = uuid.uuid4().hex
    import_archive(
        MINI,
        lab.files.dataset(dataset_id),
        wishes=Wishes(image_size=32),
        label="CIFAR-10",
        source=MINI.name,
        progress=lambda done, total: None,
    )
    dataset = load_dataset(lab.files.dataset(dataset_id))
    report = DatasetReport(
        classes=dataset.class_names,
        image_size=32,
        train_images=sum(dataset.info.train_counts),
        test_images=sum(dataset.info.test_counts),
        checksum=dataset.checksum,
    )
    row = DatasetRow(
        id=dataset_id,
        name="CIFAR-10",
        source="archive",
        job_id=uuid.uuid4().hex,
        created_at=time.time(),
        report=report.model_dump(mode="json"),
    )
    with lab.database.writing() as session:
        session.add(row)
    teacher, student = (
        register(lab, fitted(dataset, seed), dataset.class_names, name=name)
        for seed, name in ((1, "Teacher"), (2, "Student"))
    )
    return Measured(lab, dataset_id, dataset, teacher, student)


def fitted(dataset: Dataset, seed: int) -> Classifier:
    """A WRN-10-1 whose head is the ridge regression of the classes on its random features."""
    torch.manual_seed(seed)
    model = build(
        "wrn-10-1", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std
    ).eval()
    x, y = dataset.split("train").to("cpu").batch(torch.arange(0, 900, 2))
    with torch.no_grad():
        features = model.outputs(x).embedding.double()  # (N, C)
        one_hot = torch.nn.functional.one_hot(y, dataset.num_classes).double()
        centre, scale = features.mean(0), features.std(0)
        z = (features - centre) / scale
        ridge = torch.eye(z.shape[1], dtype=z.dtype)
        weights = 20 * torch.linalg.solve(z.T @ z + ridge, z.T @ (one_hot - 0.1)) / scale[:, None]
        model.head.weight.copy_(weights.T)
        model.head.bias.copy_(-(centre @ weights))
    return model


def register(
    lab: WorkerLab,
    model: Classifier,
    classes: Sequence[str],
    *,
    name: str = "Model",
    architecture: str = "wrn-10-1",
    image_size: int = 32,
    teacher: Lineage | None = None,
    **facts: Any,
) -> str:
    """Put a model into the lab, with further `facts` on its card; returns its id."""
    model_id = uuid.uuid4().hex
    sha256, size = registry.save_weights(lab.files, model_id, model.state_dict(), {})
    row = ModelRow(
        id=model_id,
        name=name,
        created_at=time.time(),
        sha256=sha256,
        size_bytes=size,
        card={
            "architecture": architecture,
            "classes": list(classes),
            "image_size": image_size,
            "teacher": None if teacher is None else teacher.model_dump(),
            **facts,
        },
    )
    with lab.database.writing() as session:
        session.add(row)
    return model_id


def random_model(
    classes: int, *, architecture: str = "wrn-10-1", seed: int = 0, scale: float = 1.0
) -> Classifier:
    """A classifier with random weights; `scale` stretches its logits."""
    torch.manual_seed(seed)
    model = build(architecture, num_classes=classes, mean=[0.5] * 3, std=[0.25] * 3).eval()
    with torch.no_grad():
        model.head.weight.mul_(scale)
    return model


def gradient(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Of the cross-entropy for the images, written out: (N, 3, H, W)."""
    x = x.detach().clone().requires_grad_()
    log_probabilities = model(x).log_softmax(dim=1)
    loss = -log_probabilities.gather(1, y[:, None]).sum()
    (found,) = torch.autograd.grad(loss, x)
    return found


def change(measured: Measured, model: str, **values: Any) -> None:
    """Change the row of a model."""
    with measured.lab.database.writing() as session:
        session.execute(update(ModelRow).where(ModelRow.id == model).values(**values))


def with_whole_cards(measured: Measured) -> Measured:
    """The same, its models with all that a card says."""
    dataset = Lineage(id=measured.dataset_id, name="CIFAR-10", sha256=measured.dataset.checksum)
    for model, name in ((measured.teacher, "Teacher"), (measured.student, "Student")):
        card = ModelCard(
            name=name, architecture="wrn-10-1", parameters=77_000, image_size=32,
            classes=measured.dataset.class_names, dataset=dataset, teacher=None,
            params=TrainParams(name=name, dataset=measured.dataset_id), selection="fitted",
            epoch=1, validation_clean=Accuracy.of(1, 2), validation_robust=None,
            environment=Environment(code_version="0", torch="0", device="cpu", threads=1,
                                    seconds=1.0),
        )  # fmt: skip
        change(measured, model, card=card.model_dump(mode="json"))
    return measured
