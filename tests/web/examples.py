"""What finished jobs leave, made by hand: datasets with images, models, results."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from app.contracts.jobs import QUEUE_OF, JobKind, JobStatus
from app.contracts.params import (
    Attack,
    CraftedOn,
    EvaluateParams,
    ExplainParams,
    Recipe,
    TrainParams,
)
from app.contracts.results import (
    Accuracy,
    CurvePoint,
    DatasetReport,
    Environment,
    EvaluationResult,
    EvaluationSummary,
    ExplainResult,
    Level,
    Lineage,
    ModelCard,
    ModelFigures,
    View,
)
from app.contracts.units import from_255
from app.services.lab import Lab
from app.store import measurements
from app.store.tables import DatasetRow, ModelRow
from tests.plugins.rows import job_row
from tests.web.example_evaluation import full_evaluation as full_evaluation
from tests.web.parsing import parsed

CLASSES = ("cat", "dog", "ship")
ENVIRONMENT = Environment(code_version="1", torch="2", device="cpu", threads=1, seconds=2.0)
SIDE = 32


def an_id() -> str:
    return uuid.uuid4().hex


def add_dataset(
    lab: Lab, *, name: str = "Pets", classes: Sequence[str] = CLASSES, **report: Any
) -> str:
    """A dataset with two test images a class; those of class k have the grey level 10 k + i."""
    dataset = an_id()
    folder = lab.files.dataset(dataset)
    folder.mkdir(parents=True)
    labels = np.repeat(np.arange(len(classes)), 2)
    greys = (10 * labels + np.tile([0, 1], len(classes))).astype(np.uint8)
    images = np.broadcast_to(greys[:, None, None, None], (len(labels), SIDE, SIDE, 3))
    np.save(folder / "test_labels.npy", labels)
    np.save(folder / "test_images.npy", images)
    about = DatasetReport(
        classes=tuple(classes), image_size=SIDE, train_images=900,
        **{"test_images": len(labels), "checksum": "0" * 64, **report},
    )  # fmt: skip
    _write(lab, DatasetRow(
        id=dataset, name=name, source="archive", job_id=an_id(), created_at=time.time(),
        report=about.model_dump(mode="json"),
    ))  # fmt: skip
    return dataset


def add_model(
    lab: Lab,
    dataset: str,
    *,
    name: str = "Teacher",
    teacher: str | None = None,
    classes: Sequence[str] = CLASSES,
    **card_says: Any,
) -> str:
    """A clean model, or a student where there is a teacher; `card_says` changes its card."""
    model = an_id()
    recipe = Recipe.CLEAN if teacher is None else Recipe.AGKD_BML
    robust = None if teacher is None else Accuracy.of(31, 100)
    card = ModelCard(
        name=name, architecture="wrn-10-2", parameters=1000, classes=tuple(classes),
        image_size=SIDE, dataset=Lineage(id=dataset, name="Pets", sha256="0" * 64),
        teacher=None if teacher is None else Lineage(id=teacher, name="Teacher", sha256="1" * 64),
        params=TrainParams(name=name, dataset=dataset, recipe=recipe, teacher=teacher),
        selection="Best of 10 epochs.", epoch=7, validation_clean=Accuracy.of(71, 100),
        validation_robust=robust, environment=ENVIRONMENT,
    )  # fmt: skip
    _write(lab, ModelRow(
        id=model, name=name, job_id=None, created_at=time.time(), dataset_id=dataset,
        sha256="2" * 64, size_bytes=1_234_567, card=card.model_dump(mode="json") | card_says,
    ))  # fmt: skip
    return model


def _write(lab: Lab, row: Any) -> None:
    with lab.database.writing() as session:
        session.add(row)


def add_job(lab: Lab, kind: JobKind, params: BaseModel, **values: Any) -> str:
    """A job in any state; a finished one with its `result`."""
    job, result = an_id(), values.pop("result", None)
    file = None if result is None else lab.files.write_result(job, result)
    status = JobStatus.QUEUED if result is None else JobStatus.SUCCEEDED
    defaults = {
        "id": job, "kind": kind, "queue": QUEUE_OF[kind], "title": f"A job to {kind}",
        "params": params.model_dump(mode="json"), "status": status, "result_file": file,
    }  # fmt: skip
    _write(lab, job_row(**{**defaults, **values}))
    if isinstance(result, EvaluationResult):
        at = values.get("finished_at") or time.time()
        for row in measurements.of_evaluation(job, at, EvaluationSummary.of(result)):
            _write(lab, row)
    return job


def train_params(**values: Any) -> TrainParams:
    return TrainParams(**{"name": "Model", "dataset": an_id(), **values})


def evaluation(models: Sequence[tuple[str, str]], **values: Any) -> EvaluationResult:
    """Of models given by id and name: 3 budgets, 2 step counts, 200 images."""
    params = EvaluateParams(
        models=tuple(model for model, _ in models),
        dataset=an_id(),
        epsilons=(0.0, from_255(4), from_255(8)),
        step_counts=(1, 10),
        **values,
    )
    curves = tuple(
        ModelFigures(
            model=model,
            name=name,
            sha256="3" * 64,
            clean=Accuracy.of(150 - i, 200),
            against_epsilon=tuple(
                CurvePoint(x=x, accuracy=Accuracy.of(150 - i - 60 * k, 200))
                for k, x in enumerate(params.epsilons)
            ),
            against_steps=tuple(
                CurvePoint(x=x, accuracy=Accuracy.of(60 - i - 20 * k, 200))
                for k, x in enumerate(params.step_counts)
            ),
        )
        for i, (model, name) in enumerate(models)
    )
    return EvaluationResult(
        params=params,
        dataset=Lineage(id=params.dataset, name="Pets", sha256="0" * 64),
        images=200,
        models=curves,
        environment=ENVIRONMENT,
    )


def explanation(
    teacher: str, student: str, *, classes: Sequence[str] = CLASSES, label: str = "cat"
) -> ExplainResult:
    """The true class's probability falls from 0.9 by 0.05 (teacher) or 0.01 a level (student)."""
    params = ExplainParams(upload=an_id(), teacher=teacher, student=student)
    levels = tuple(
        Level(
            epsilon=from_255(level),
            adversarial_png=png(100 + level),
            perturbation_png=png(128),
            max_change=from_255(level),
            l2_change=0.1 * level,
            teacher=view(0.9 - 0.05 * level, len(classes), distance=0.02 * level),
            student=view(0.9 - 0.01 * level, len(classes), distance=0.1 + 0.001 * level),
        )
        for level in range(17)
    )
    return ExplainResult(
        params=params,
        classes=tuple(classes),
        label=label,
        label_is_given=False,
        teacher=Lineage(id=teacher, name="Teacher", sha256="1" * 64),
        student=Lineage(id=student, name="Student <b>", sha256="2" * 64),
        crafted_on=CraftedOn.STUDENT,
        attack=Attack(steps=10),
        clean_png=png(100),
        perturbation_range=from_255(16),
        levels=levels,
        environment=ENVIRONMENT,
    )


def view(true: float, classes: int, *, distance: float) -> View:
    """The first class has the probability `true`, the others share the rest."""
    rest = (1 - true) / (classes - 1)
    grid = tuple(tuple((row + column) / 6 for column in range(4)) for row in range(4))
    return View(
        probabilities=(true, *[rest] * (classes - 1)), attention=grid, grad_cam=grid[::-1],
        attention_l1=distance, attention_cosine=distance / 2, grad_cam_l1=2 * distance,
        grad_cam_cosine=3 * distance,
    )  # fmt: skip


def png(grey: int) -> str:
    """A plain picture of 32 by 32 pixels, base64."""
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (grey, grey, grey)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def brought_figures(html: str) -> dict[str, Any]:
    """The figures that a page brings along, by name."""
    blocks = parsed(html).select('script[type="application/json"][data-figures]')
    return {
        name: figure for block in blocks for name, figure in json.loads(block.get_text()).items()
    }
