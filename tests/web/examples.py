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
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from app.contracts.jobs import QUEUE_OF, JobKind, JobStatus
from app.contracts.params import (
    EvaluateParams,
    ExplainParams,
    Recipe,
    TrainParams,
)
from app.contracts.results import (
    Accuracy,
    Attacked,
    CleanLook,
    CurvePoint,
    DatasetReport,
    Distances,
    Environment,
    EvaluationResult,
    EvaluationSummary,
    ExplainResult,
    Level,
    Lineage,
    LiveLook,
    LiveModel,
    MapFigures,
    MapSheet,
    Minimal,
    ModelCard,
    ModelFigures,
    Stored,
)
from app.contracts.units import from_255
from app.services.lab import Lab
from app.store import measurements
from app.store.tables import DatasetRow, MeasurementRow, ModelRow
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
        classes=tuple(classes), image_size=SIDE,
        **{"train_images": 900, "test_images": len(labels), "checksum": "0" * 64, **report},
    )  # fmt: skip
    _write(lab, DatasetRow(
        id=dataset, name=name, source="archive", job_id=an_id(), created_at=time.time(),
        report=about.model_dump(mode="json"),
    ))  # fmt: skip
    return dataset


BLACK_BOX: dict[str, Any] = {
    "architecture": "ONNX", "access": "black_box", "origin": "imported", "params": None,
    "selection": "Imported from net.onnx.", "epoch": 0, "validation_clean": None,
    "validation_robust": None, "teacher": None,
    "onnx": {
        "input": "images", "output": "probs", "kind": "float32", "layout": "nhwc",
        "pixels": "0-255", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "batch": 8,
        "scores": "probabilities", "outputs": (0, 1), "opset": 17,
    },
}  # fmt: skip
"""What the card of a network in an ONNX file says."""
ENDPOINT: dict[str, Any] = {
    **{name: value for name, value in BLACK_BOX.items() if name != "onnx"},
    "architecture": "HTTP", "parameters": None, "access": "labels_only",
    "endpoint": {
        "address": "https://models.example.org/v1/predict", "sends": "png", "layout": "nchw",
        "pixels": "0-1", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "answers": "labels",
        "width": 2, "outputs": (0, 1), "at_once": 32, "per_second": 12.5, "budget": 50_000,
        "patience_s": 30.0, "known": ((1.0, 0.0),),
    },
}  # fmt: skip
"""What the card of a model behind an address says, which answers with labels alone."""


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


def _write(lab: Lab, *rows: Any) -> None:
    """At once, as the lab does: what sums up older jobs never meets a half of one."""
    with lab.database.writing() as session:
        for row in rows:
            session.add(row)
            session.flush()


def add_job(lab: Lab, kind: JobKind, params: BaseModel, **values: Any) -> str:
    """A job in any state; a finished one with its `result`."""
    job, result = an_id(), values.pop("result", None)
    file = None if result is None else lab.files.write_result(job, result)
    status = JobStatus.QUEUED if result is None else JobStatus.SUCCEEDED
    defaults = {
        "id": job, "kind": kind, "queue": QUEUE_OF[kind], "title": f"A job to {kind}",
        "params": params.model_dump(mode="json"), "status": status, "result_file": file,
    }  # fmt: skip
    measured: list[MeasurementRow] = []
    if isinstance(result, EvaluationResult):
        at = values.get("finished_at") or time.time()
        measured = measurements.of_evaluation(job, at, EvaluationSummary.of(result))
    _write(lab, job_row(**{**defaults, **values}), *measured)
    with lab.database.writing() as session:
        measurements.note_standing(session, MeasurementRow.job_id == job)
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
    *models: str,
    names: Sequence[str] = ("Teacher", "Student <b>"),
    recipes: Sequence[Recipe | None] = (Recipe.CLEAN, Recipe.AGKD_BML),
    classes: Sequence[str] = CLASSES,
    label: str | None = "cat",
    levels: Sequence[int] = range(17),
    steps: Sequence[int] = range(11),
    **params: Any,
) -> ExplainResult:
    """At these sixteenths of the largest budget, after these steps of 10.

    The first class's probability falls from 0.9 by 0.05 a level and step / 10 for the first
    model, by 0.01 for the others; the second class has most of the rest.

    Pictures are grey: 100, and one more a level. Every map rises along its rows and columns, and
    fades by a 32nd a level; that of Grad-CAM falls and stays as it is.
    """
    asked = ExplainParams.model_validate(
        {"upload": an_id(), "models": models, "label": label, **params}
    )
    falls = [0.05, *[0.01] * (len(models) - 1)]
    shown = tuple(range(min(10, len(classes))))
    return ExplainResult(
        params=asked,
        attack="PGD-10 (L∞), away from the true class",
        classes=tuple(classes),
        shown=shown,
        label=label,
        models=tuple(
            LiveModel(
                id=model, name=names[i % 2], sha256=f"{i}" * 64, recipe=recipes[i % 2],
                label_smoothing=0.5 * (i % 2),
            )
            for i, model in enumerate(models)
        ),
        budgets=tuple(asked.max_epsilon * level / 16 for level in levels),
        iterates=tuple(steps),
        image_size=SIDE,
        clean_png=png(100),
        clean=tuple(
            CleanLook(
                top=0, confidence=0.9, probabilities=_shares(0.9, len(shown)),
                attention_noise=_distances(0.01, levels), grad_cam_noise=_distances(0.01, levels),
            )
            for _ in models
        ),
        attacks=tuple(
            _attacked(i, falls, len(shown), asked, levels, steps) for i in range(len(models))
        ),
        environment=ENVIRONMENT,
    )  # fmt: skip


def _attacked(
    number: int,
    falls: Sequence[float],
    shown: int,
    params: ExplainParams,
    levels: Sequence[int],
    steps: Sequence[int],
) -> Attacked:
    rows, columns = len(levels), len(steps)
    grey = np.full((rows, SIDE, columns, 3 * SIDE), 128, np.uint8)
    grey += np.array(levels, np.uint8)[:, None, None, None]
    looks = tuple(
        _look(fall, levels, steps if i == number else (10,), shown, own=i == number)
        for i, fall in enumerate(falls)
    )
    answers = looks[number].top[columns - 1 :: columns]
    broke = answers.index(1) if 1 in answers else 17
    return Attacked(
        changes_png=grey_png(grey.reshape(rows * SIDE, -1)),
        levels=tuple(
            Level(
                adversarial_png=png(100 + level), max_change=from_255(level), l2_change=0.1 * level
            )
            for level in levels
        ),
        looks=looks,
        stored=tuple(
            Stored(form=form, top=answers)
            for form in ("png", "float", "jpeg-90", "jpeg-75")
        ),
        minimal=Minimal(
            survived=params.max_epsilon * (broke - 1) / 16, broke=params.max_epsilon * broke / 16,
            crafted_on=number, steps=10,
        ) if broke <= 16 else Minimal(
            survived=params.max_epsilon, broke=None, crafted_on=None, steps=None
        ),
    )  # fmt: skip


def _look(
    fall: float, levels: Sequence[int], steps: Sequence[int], shown: int, *, own: bool
) -> LiveLook:
    shares = [_shares(0.9 - fall * level * step / 10, shown) for level in levels for step in steps]
    rising = np.add.outer(np.arange(4), np.arange(4)) / 6
    falling = np.multiply.outer(1 - np.array(levels) / 32, rising)
    still = np.broadcast_to(rising[::-1], falling.shape)
    return LiveLook(
        top=tuple(int(np.argmax(row)) for row in shares),
        confidence=tuple(max(row) for row in shares),
        probabilities=tuple(shares),
        attention=_map_figures(falling, levels, len(steps), 0.02),
        grad_cam=_map_figures(still, levels, len(steps), 0.04),
        stages=(_sheet(falling[:, ::-1], 1), _sheet(falling, 1)) if own else (),
    )


def _shares(first: float, classes: int) -> tuple[float, ...]:
    """The second class has what the first leaves, but for a hundredth of each other one."""
    rest = 0.01 * (classes - 2)
    return (first, 1 - first - rest, *[0.01] * (classes - 2))


def _map_figures(
    grids: NDArray[np.float64], levels: Sequence[int], columns: int, step: float
) -> MapFigures:
    found = _distances(step, levels, columns)
    return MapFigures(sheet=_sheet(grids, columns), shift=found, reference=found)


def _sheet(grids: NDArray[np.float64], columns: int) -> MapSheet:
    """The map of each level, (17, h, w), `columns` times."""
    _, height, width = grids.shape
    pixels = np.rint(255 * np.tile(grids.reshape(-1, width), (1, columns))).astype(np.uint8)
    return MapSheet(png=grey_png(pixels), height=height, width=width)


def _distances(step: float, levels: Sequence[int], columns: int = 1) -> Distances:
    """`step` more a level."""
    numbers = tuple(round(step * level, 4) for level in levels for _ in range(columns))
    return Distances(l1=numbers, cosine=numbers, overlap=(1.0,) * len(numbers))


def grey_png(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


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
