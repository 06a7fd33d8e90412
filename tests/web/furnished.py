"""A lab in which every page has something to show: jobs of every kind, in every state."""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.ablations import lifecycle
from app.contracts.changes import Changes
from app.contracts.events import Event, LogEvent, LogLevel, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    ImportModelParams,
    ImportParams,
    Recipe,
    ReleaseParams,
)
from app.contracts.results import (
    Accuracy,
    EvaluationResult,
    ImportModelResult,
    ImportResult,
    Lineage,
    ModelCard,
    OnnxFile,
    ReleaseResult,
    TestAccuracy,
    TrainResult,
)
from app.services import datasets, jobs, models
from app.services.lab import Lab
from app.store import jobs as store
from tests.plugins.families import children_of, fail, succeed, take
from tests.web.examples import (
    BLACK_BOX,
    add_dataset,
    add_job,
    add_model,
    an_id,
    explanation,
    full_evaluation,
    train_params,
)


@dataclass(frozen=True)
class Names:
    """What people have called things."""

    dataset: str
    teacher: str
    student: str
    third: str
    classes: tuple[str, ...]
    says: str
    """A sentence in a log, a failure, a note."""
    file: str


PLAIN = Names(
    dataset="CIFAR-10 (JPEG)",
    teacher="Teacher WRN-10-2",
    student="AGKD-BML WRN-10-2",
    third="PGD-AT",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
             "truck"),
    says="The archive's folder `misc` holds no images.",
    file="train/misc/readme.txt",
)  # fmt: skip
HARD = Names(
    dataset="x" * 80,
    teacher="W" * 80,
    student="<b>S</b> & </script><img src=x onerror=alert(1)>",
    third="نموذج مقاوم للهجمات المعادية تدرب على صور معدلة",
    classes=("c" * 80, "<i>dog</i> &amp; </td>", "قطة صغيرة", *(f"class {i}" for i in range(30))),
    says="e" * 400,
    file="train/" + "f" * 200,
)
MORE = 60
"""Models and jobs beyond those whose pages are shown: more than a page of either."""


def furnish(lab: Lab, names: Names) -> dict[str, str]:
    """Fill the lab; returns the address of each page by what it shows."""
    dataset = add_dataset(
        lab, name=names.dataset, classes=names.classes, notes=(names.says,), skipped=25,
        skipped_examples=tuple(f"{names.file}{i}" for i in range(20)),
    )  # fmt: skip
    teacher = add_model(lab, dataset, name=names.teacher, classes=names.classes)
    student = add_model(
        lab, dataset, name=names.student, teacher=teacher, classes=names.classes
    )  # fmt: skip
    third = add_model(lab, dataset, name=names.third, teacher=teacher, classes=names.classes)
    black_box = add_model(lab, dataset, name=names.third, classes=names.classes, **BLACK_BOX)
    gone = add_model(lab, dataset, name=names.third, classes=names.classes)
    models.delete(lab, gone)
    for _ in range(MORE):
        add_model(lab, dataset, name=names.teacher, classes=names.classes)
        add_job(lab, JobKind.TRAIN, train_params(), title=names.dataset, created_at=0.0)
    kept = Changes(note=names.says, tags=(names.dataset[:40], "paper"))
    models.change(lab, [student], kept)
    datasets.change(lab, dataset, kept)
    of = _Furnished(lab, names, dataset, teacher, student, third)
    boxed = {
        "model-black-box": f"/models/{black_box}",
        "evaluate-black-box": f"/evaluate?models={black_box}",
        "workers": "/workers",
    }
    return boxed | of.forms() | of.things() | of.trainings() | of.imports() | of.evaluations()


def empty() -> dict[str, str]:
    """Pages of a lab in which nothing has happened."""
    return {name: f"/{name}" for name in (
        "", "train", "evaluate", "ablation", "models", "models?shelf=bin", "models/import",
        "datasets", "live", "compare", "nowhere", "jobs", "jobs?shelf=archive", "board",
        "compare/trainings", "datasets?shelf=bin", "audit", "workers",
    )}  # fmt: skip


@dataclass(frozen=True)
class _Furnished:
    lab: Lab
    names: Names
    dataset: str
    teacher: str
    student: str
    third: str

    def forms(self) -> dict[str, str]:
        return {
            "train": f"/train?recipe=agkd_bml&teacher={self.teacher}&dataset={self.dataset}",
            "evaluate": f"/evaluate?models={self.student}",
            "ablation": "/ablation",
            "models-import": "/models/import",
            "live": "/live",
            "help": "/help",
            "api": "/docs",
            "help-verdict": "/help/trust",
            "help-results": "/help/results/ablation",
            "nowhere": "/nowhere",
        }

    def things(self) -> dict[str, str]:
        return {
            "models": "/models",
            "jobs": "/jobs",
            "jobs-wide": "/jobs?col=kind&col=state&col=dataset&col=recipe&col=epochs&col=clean"
            "&col=robust&col=autoattack&col=time&col=created",
            "bin": "/models?shelf=bin",
            "model-teacher": f"/models/{self.teacher}",
            "model-student": f"/models/{self.student}",
            "datasets": "/datasets",
            "dataset": f"/datasets/{self.dataset}",
        }

    def trainings(self) -> dict[str, str]:
        params = train_params(name=self.names.student, dataset=self.dataset,
                              recipe=Recipe.AGKD_BML, teacher=self.teacher)  # fmt: skip
        result = TrainResult(model=self.student, last=self.third, card=self._card(self.student))
        done, running, failed, waiting = (
            add_job(self.lab, JobKind.TRAIN, params, title=f"Train {self.names.student}")
            for _ in range(4)
        )
        claim = take(self.lab.database, done)
        store.report(self.lab.database, claim, history(epochs=6, says=self.names.says))
        file = self.lab.files.write_result(done, result)
        store.settle(self.lab.database, claim, JobStatus.SUCCEEDED, result_file=file)
        store.report(
            self.lab.database,
            take(self.lab.database, running),
            history(epochs=2, says=self.names.says),
        )
        fail(self.lab.database, take(self.lab.database, failed), self.names.says)
        addresses = {"training": done, "training-running": running, "training-failed": failed,
                     "training-waiting": waiting, "ablation-job": self._ablation()}  # fmt: skip
        together = f"/compare/trainings?job={done}&job={running}"
        return {name: f"/jobs/{job}" for name, job in addresses.items()} | {
            "compare-trainings": together, "board": "/board?every=true",
        }  # fmt: skip

    def imports(self) -> dict[str, str]:
        brought = add_model(
            self.lab, self.dataset, name=self.names.third, classes=self.names.classes,
            origin="imported", params=None, selection=self.names.says, test=[
                TestAccuracy(measure="clean", accuracy=Accuracy.of(91, 100), expected=0.99,
                             dataset=self._lineage()).model_dump(mode="json")
            ],
        )  # fmt: skip
        asked = ImportModelParams(
            name=self.names.third, upload=an_id(), dataset=self.dataset,
            architecture="timm:resnet18", classes=self.names.classes,
        )  # fmt: skip
        result = ImportModelResult(model=brought, card=self._card(brought), parity=1e-6)
        weights = add_job(
            self.lab, JobKind.IMPORT_MODEL, asked, result=result, finished_at=time.time()
        )
        report = datasets.get(self.lab, self.dataset).report
        images = add_job(
            self.lab, JobKind.IMPORT, ImportParams(name=self.names.dataset, source="shapes"),
            result=ImportResult(dataset=self.dataset, report=report), title=self.names.dataset,
        )  # fmt: skip
        failure = {"title": "The job failed", "detail": self.names.says, "hint": self.names.says}
        add_job(self.lab, JobKind.IMPORT, ImportParams(name=self.names.dataset, source="shapes"),
                status=JobStatus.FAILED, failure=failure, title=self.names.dataset,
                finished_at=time.time())  # fmt: skip
        onnx = OnnxFile(sha256="a" * 64, size_bytes=10**6, opset=20, checked_on=40, difference=2e-7)
        released = add_job(
            self.lab, JobKind.RELEASE, ReleaseParams(model=self.student), title=self.names.student,
            result=ReleaseResult(
                model=Lineage(id=self.student, name=self.names.student, sha256="2" * 64),
                onnx=onnx, environment=self._card(self.student).environment,
            ), finished_at=time.time(),
        )  # fmt: skip
        return {"model-imported": f"/models/{brought}", "import-model-job": f"/jobs/{weights}",
                "import-job": f"/jobs/{images}", "release": f"/jobs/{released}"}  # fmt: skip

    def evaluations(self) -> dict[str, str]:
        pair = self._evaluate(self.teacher, self.student)
        many = self._evaluate(self.teacher, self.student, self.third)
        running = add_job(self.lab, JobKind.EVALUATE, EvaluateParams(
            models=(self.teacher, self.student), dataset=self.dataset
        ), title=f"Evaluate {self.names.student}")  # fmt: skip
        store.report(self.lab.database, take(self.lab.database, running), [
            *self._estimates(), ProgressEvent(done=60, total=200, phase="60 images", eta_s=60.0),
        ])  # fmt: skip
        shown = explanation(self.teacher, self.student, classes=self.names.classes,
                            label=self.names.classes[0])  # fmt: skip
        live = add_job(self.lab, JobKind.EXPLAIN, shown.params, result=shown)
        return {
            "evaluation": f"/jobs/{pair}",
            "evaluation-of-three": f"/jobs/{many}",
            "evaluation-running": f"/jobs/{running}",
            "report": f"/jobs/{many}/report.html",
            "compare": "/compare",
            "compare-three": f"/compare?job={pair}&job={many}",
            "live-result": f"/live?job={live}",
            "explain-job": f"/jobs/{live}",
            "home": "/",
        }

    def _card(self, model: str) -> ModelCard:
        return models.get(self.lab, model).card

    def _lineage(self) -> Lineage:
        return Lineage(id=self.dataset, name=self.names.dataset, sha256="0" * 64)

    def _evaluate(self, *of: str) -> str:
        recipes = {self.teacher: Recipe.CLEAN, self.student: Recipe.AGKD_BML,
                   self.third: Recipe.AGKD_BML}  # fmt: skip
        count = 2 * len(self.names.classes)
        result: EvaluationResult = full_evaluation(
            [(model, self._card(model).name, recipes[model]) for model in of],
            images=count, classes=self.names.classes, dataset=self._lineage(),
        )  # fmt: skip
        result = result.model_copy(update={"image_numbers": tuple(range(count))})
        return add_job(self.lab, JobKind.EVALUATE, result.params, result=result,
                       title=f"Evaluate {len(of)} models, {self.names.student}",
                       finished_at=time.time())  # fmt: skip

    def _estimates(self) -> list[Event]:
        values = {"clean": 0.9, "robust": 0.5, "low": 0.4, "high": 0.6, "attacks_left": 3}
        return [
            MetricsEvent(series="estimate", step=20 * n, values={
                f"{model}:{name}": value
                for model in (self.teacher, self.student) for name, value in values.items()
            })
            for n in (1, 2, 3)
        ]  # fmt: skip

    def _ablation(self) -> str:
        job = jobs.submit(self.lab, JobKind.ABLATION, AblationParams(
            name=self.names.student, recipes=(Recipe.PGD_AT, Recipe.AGKD_BML),
            seeds=(0, 1), grid={"weight_decay": (0.0001, 0.0002)},
            training=train_params(
                name="shared", recipe=Recipe.AGKD_BML, dataset=self.dataset, teacher=self.teacher
            ),
        )).id  # fmt: skip
        first, second, third, *_ = children_of(self.lab.database, job)
        for child in (first, second):
            succeed(self.lab.database, self.lab.files, take(self.lab.database, child.id))
        fail(self.lab.database, take(self.lab.database, third.id), self.names.says)
        lifecycle.advance(self.lab.database, self.lab.files, job)
        return job


def history(*, epochs: int, says: str) -> list[Event]:
    """What a training of AGKD-BML reports: ten steps an epoch."""
    events: list[Event] = []
    for step in range(1, 10 * epochs + 1):
        fall = 1 / (1 + step / 10)
        events.append(MetricsEvent(series="step", step=step, values={
            "loss": 1 + 3 * fall, "classification": 1 + fall, "mart": fall, "agkd": 0.1 * fall,
            "bml": 0.05 * fall, "train_clean": 0.9 - 0.6 * fall,
            "train_robust": 0.5 - 0.4 * fall, "images_per_s": 321.0, "learning_rate": 0.1,
            "peak_memory_mb": 900.0 + step,
        }))  # fmt: skip
    for epoch in range(1, epochs + 1):
        events.append(MetricsEvent(series="epoch", step=epoch, values={
            "loss": 3.0 / epoch, "validation_clean": 0.6 + 0.03 * epoch,
            "validation_robust": 0.3 + 0.01 * epoch,
        }))  # fmt: skip
        events.append(LogEvent(text=f"Epoch {epoch}: {says}"))
    events.append(LogEvent(level=LogLevel.WARNING, text=says))
    events.append(ProgressEvent(done=epochs, total=10, phase=f"epoch {epochs} of 10", eta_s=90.0))
    return events
