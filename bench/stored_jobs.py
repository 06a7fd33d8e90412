"""A lab with thousands of jobs of all kinds and states, written through its own store. No torch."""

from __future__ import annotations

import base64
import io
import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from app.contracts.events import Event, LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import QUEUE_OF, JobKind, JobStatus
from app.contracts.params import (
    LIVE_ITERATES,
    LIVE_LEVELS,
    EvaluateParams,
    ExplainParams,
    ImportParams,
    Params,
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
    ImportResult,
    Level,
    Lineage,
    LiveLook,
    LiveModel,
    MapFigures,
    MapSheet,
    Minimal,
    ModelCard,
    ModelFigures,
    TrainResult,
)
from app.contracts.results import Stored as StoredPicture
from app.services.lab import Lab
from app.store import jobs
from app.store.tables import DatasetRow, JobRow, ModelRow

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_HERE = Environment(code_version="0.1.0", torch="2.14.1", device="cpu", threads=2, seconds=1200.0)
_SIDE, _ATTENTION_SIDE = 32, 8
_LONG_RUN = 2000
_SHORT_RUN = 60


@dataclass(frozen=True)
class Stored:
    """Ids of what the pages of a filled lab show."""

    dataset: str
    teacher: str
    student: str
    jobs: dict[str, str]
    """A job of each kind, by what it is; `long training` has more events than any other."""


def fill(lab: Lab, count: int) -> Stored:
    """Write `count` jobs: two fifths training, a fifth each of the others, some not successful."""
    rng = np.random.default_rng(0)
    dataset = _import(lab, "CIFAR-10 (JPEG)")
    teacher = _train(lab, rng, dataset, None, _SHORT_RUN)
    student = _train(lab, rng, dataset, teacher, _LONG_RUN)
    shown = {
        "import": dataset.job_id,
        "long training": student.job_id or "",
        "evaluation": _evaluate(lab, rng, dataset, [teacher, student]),
        "explanation": _explain(lab, rng, teacher, student),
    }
    for number in range(count - len(shown) - 1):
        kind = number % 5
        if number % 20 == 19:
            _unfinished(lab, dataset, number)
        elif kind == 0:
            _import(lab, f"Dataset {number}")
        elif kind in (1, 2):
            _train(lab, rng, dataset, teacher if kind == 2 else None, _SHORT_RUN)
        elif kind == 3:
            _evaluate(lab, rng, dataset, [teacher, student])
        else:
            _explain(lab, rng, teacher, student)
    return Stored(dataset.id, teacher.id, student.id, shown)


def _add(lab: Lab, kind: JobKind, title: str, params: Params) -> str:
    row = JobRow(
        id=uuid.uuid4().hex, kind=kind, status=JobStatus.QUEUED, queue=QUEUE_OF[kind], title=title,
        params=params.model_dump(mode="json"), created_at=time.time(), sent_at=time.time(),
        attempt=0, fence=0, cancel_requested=False, last_event=0,
    )  # fmt: skip
    jobs.add(lab.database, row)
    return row.id


def _run(
    lab: Lab, job_id: str, events: Sequence[Event], result: BaseModel, rows: Sequence[object] = ()
) -> None:
    claim = jobs.claim(lab.database, job_id, lease_s=3600.0)
    assert claim is not None
    jobs.report(lab.database, claim, [*events, ProgressEvent(done=1, total=1, phase="done")])
    file = lab.files.write_result(claim.result_name, result)
    summary = EvaluationSummary.of(result) if isinstance(result, EvaluationResult) else None
    jobs.settle(
        lab.database, claim, JobStatus.SUCCEEDED, result_file=file, summary=summary, rows=rows
    )


def _unfinished(lab: Lab, dataset: DatasetRow, number: int) -> None:
    """One that failed, was cancelled, runs or waits, in turn; few run or wait."""
    name = f"Unlucky {number}"
    job_id = _add(lab, JobKind.TRAIN, f"Train {name}", TrainParams(name=name, dataset=dataset.id))
    turn = number // 20
    if turn % 2:
        jobs.request_cancel(lab.database, job_id)
        return
    if turn < 4:
        return
    claim = jobs.claim(lab.database, job_id, lease_s=3600.0)
    assert claim is not None
    jobs.report(lab.database, claim, [ProgressEvent(done=3, total=9, phase="epoch 1", eta_s=60.0)])
    if turn > 6:
        why = {"title": "The job failed", "detail": "The loss is not a number.", "hint": ""}
        jobs.settle(lab.database, claim, JobStatus.FAILED, failure=why)


def _import(lab: Lab, name: str) -> DatasetRow:
    job_id = _add(lab, JobKind.IMPORT, f"Import {name}", ImportParams(name=name))
    report = DatasetReport(
        classes=CLASSES, image_size=32, train_images=50_000, test_images=8_000,
        checksum=uuid.uuid4().hex * 2,
    )  # fmt: skip
    row = DatasetRow(
        id=uuid.uuid4().hex,
        name=name,
        source="archive",
        job_id=job_id,
        created_at=time.time(),
        report=report.model_dump(mode="json"),
    )
    events = [LogEvent(text=f"Read {n} files.") for n in (1_000, 10_000, 58_000)]
    _run(lab, job_id, events, ImportResult(dataset=row.id, report=report), [row])
    return row


def _lineage(row: DatasetRow | ModelRow) -> Lineage:
    return Lineage(id=row.id, name=row.name, sha256="5" * 64)


def _metrics(rng: np.random.Generator, points: int) -> list[Event]:
    """A training job's charts: a point every two seconds, an epoch after every tenth of them."""
    names = ("loss", "classification", "mart", "agkd", "bml", "train_robust", "images_per_s")
    events: list[Event] = []
    for step, values in enumerate(rng.random((points, len(names))).tolist(), 1):
        point = dict(zip(names, values, strict=True)) | {"learning_rate": 0.1}
        events.append(MetricsEvent(series="step", step=step, values=point))
        if step % max(1, points // 10) == 0:
            epoch = step // max(1, points // 10)
            accuracy = {"validation_clean": values[0], "validation_robust": values[1]}
            events.append(MetricsEvent(series="epoch", step=epoch, values=accuracy))
            events.append(LogEvent(text=f"Epoch {epoch}: validation clean {values[0]:.1%}."))
    return events


def _train(
    lab: Lab,
    rng: np.random.Generator,
    dataset: DatasetRow,
    teacher: ModelRow | None,
    points: int,
) -> ModelRow:
    name = f"{'Student' if teacher else 'Teacher'} {uuid.uuid4().hex[:6]}"
    params = TrainParams(
        name=name,
        dataset=dataset.id,
        recipe=Recipe.AGKD_BML if teacher else Recipe.CLEAN,
        teacher=teacher.id if teacher else None,
    )
    job_id = _add(lab, JobKind.TRAIN, f"Train {name} on {dataset.name}", params)
    card = ModelCard(
        name=name,
        architecture="wrn-10-2",
        parameters=300_000,
        classes=CLASSES,
        image_size=32,
        dataset=_lineage(dataset),
        teacher=_lineage(teacher) if teacher else None,
        params=params,
        selection="The epoch with the highest validation accuracy.",
        epoch=10,
        validation_clean=Accuracy.of(3900, 5000),
        validation_robust=Accuracy.of(300, 1000) if teacher else None,
        environment=_HERE,
    )
    row = ModelRow(
        id=uuid.uuid4().hex,
        name=name,
        job_id=job_id,
        created_at=time.time(),
        dataset_id=dataset.id,
        sha256="5" * 64,
        size_bytes=1_200_000,
        card=card.model_dump(mode="json"),
    )
    result = TrainResult(model=row.id, last=row.id, card=card)
    _run(lab, job_id, _metrics(rng, points), result, [row])
    return row


def _evaluate(
    lab: Lab, rng: np.random.Generator, dataset: DatasetRow, models: Sequence[ModelRow]
) -> str:
    params = EvaluateParams(models=tuple(row.id for row in models), dataset=dataset.id)
    job_id = _add(lab, JobKind.EVALUATE, "Evaluate " + ", ".join(m.name for m in models), params)

    def curve(xs: Sequence[float]) -> tuple[CurvePoint, ...]:
        falling = sorted(rng.integers(0, 1000, len(xs)).tolist(), reverse=True)
        points = zip(xs, falling, strict=True)
        return tuple(CurvePoint(x=x, accuracy=Accuracy.of(n, 1000)) for x, n in points)

    result = EvaluationResult(
        params=params,
        dataset=_lineage(dataset),
        images=1000,
        models=tuple(
            ModelFigures(
                model=row.id,
                name=row.name,
                sha256=row.sha256,
                clean=Accuracy.of(780, 1000),
                against_epsilon=curve(params.epsilons),
                against_steps=curve(params.step_counts),
            )
            for row in models
        ),
        environment=_HERE,
    )
    events = [
        MetricsEvent(series="curve", step=step, values={row.name: 0.5})
        for step, row in itertools.product(params.step_counts, models)
    ]
    _run(lab, job_id, events, result)
    return job_id


def _png(rng: np.random.Generator) -> str:
    return _as_png(rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8))


def _as_png(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _explain(lab: Lab, rng: np.random.Generator, teacher: ModelRow, student: ModelRow) -> str:
    pair = (teacher, student)
    params = ExplainParams(upload=uuid.uuid4().hex, models=tuple(row.id for row in pair))
    job_id = _add(lab, JobKind.EXPLAIN, "Explain photo.jpg", params)
    level = Level(adversarial_png=_png(rng), max_change=0.01, l2_change=0.1)
    result = ExplainResult(
        params=params,
        attack="PGD-10 (L∞), away from the true class",
        classes=CLASSES,
        shown=tuple(range(len(CLASSES))),
        label=CLASSES[0],
        models=tuple(
            LiveModel(**_lineage(row).model_dump(), recipe=None, label_smoothing=None)
            for row in pair
        ),
        budgets=tuple(params.max_epsilon * i / (LIVE_LEVELS - 1) for i in range(LIVE_LEVELS)),
        iterates=tuple(range(LIVE_ITERATES)),
        image_size=_SIDE,
        clean_png=_png(rng),
        clean=tuple(
            CleanLook(
                top=0, confidence=0.5, probabilities=_numbers(rng, len(CLASSES)),
                attention_noise=_distances(rng, LIVE_LEVELS),
                grad_cam_noise=_distances(rng, LIVE_LEVELS),
            )
            for _ in pair
        ),
        attacks=tuple(
            Attacked(
                changes_png=_sheet(rng, LIVE_ITERATES, _SIDE, 3 * _SIDE),
                levels=(level,) * LIVE_LEVELS,
                looks=tuple(
                    _look(rng, LIVE_ITERATES if own == other else 1) for other in range(2)
                ),
                stored=(StoredPicture(form="png", top=(0,) * LIVE_LEVELS),),
                minimal=Minimal(survived=0.01, broke=0.02, crafted_on=own, steps=10),
            )
            for own in range(2)
        ),
        environment=_HERE,
    )  # fmt: skip
    _run(lab, job_id, [], result)
    return job_id


def _look(rng: np.random.Generator, columns: int) -> LiveLook:
    pictures = LIVE_LEVELS * columns
    maps = MapFigures(
        sheet=MapSheet(
            png=_sheet(rng, columns, _ATTENTION_SIDE, _ATTENTION_SIDE),
            height=_ATTENTION_SIDE, width=_ATTENTION_SIDE,
        ),
        shift=_distances(rng, pictures), reference=_distances(rng, pictures),
    )  # fmt: skip
    return LiveLook(
        top=(0,) * pictures, confidence=_numbers(rng, pictures),
        probabilities=(_numbers(rng, len(CLASSES)),) * pictures,
        attention=maps, grad_cam=maps, stages=(),
    )  # fmt: skip


def _sheet(rng: np.random.Generator, columns: int, height: int, width: int) -> str:
    shape = (LIVE_LEVELS * height, columns * width)
    return _as_png(rng.integers(120, 136, shape, dtype=np.uint8))


def _numbers(rng: np.random.Generator, count: int) -> tuple[float, ...]:
    return tuple(rng.random(count).round(4).tolist())


def _distances(rng: np.random.Generator, pictures: int) -> Distances:
    numbers = _numbers(rng, pictures)
    return Distances(l1=numbers, cosine=numbers, overlap=numbers)
