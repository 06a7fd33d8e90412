"""One lab, as a program sees it: what it has, and what it can be asked to do."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack
from urllib.parse import quote

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from app.client.errors import LabError, unreadable
from app.client.job import JOB, MODEL, Change, Job
from app.client.names import (
    a_name,
    is_id,
    may_start_id,
    several_names,
    the_one_named,
    the_one_starting,
)
from app.client.transport import Transport
from app.contracts.accounts import Account, Role
from app.contracts.board import Board, Condition
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, training_preset
from app.contracts.placement import Priority
from app.contracts.results import (
    AblationResult,
    Comparison,
    EvaluationResult,
    ExplainResult,
    ImportModelResult,
    ImportResult,
    JobResult,
    ReleaseResult,
    TrainResult,
)
from app.contracts.views import (
    DatasetView,
    Health,
    JobView,
    ModelView,
    Page,
    Workers,
    WorkerView,
)

T = TypeVar("T")

_ACCOUNT: TypeAdapter[Account] = TypeAdapter(Account)
_ACCOUNTS: TypeAdapter[list[Account]] = TypeAdapter(list[Account])
_BOARD: TypeAdapter[Board] = TypeAdapter(Board)
_CONDITIONS: TypeAdapter[list[Condition]] = TypeAdapter(list[Condition])
_COMPARISON: TypeAdapter[Comparison] = TypeAdapter(Comparison)
_DATASET: TypeAdapter[DatasetView] = TypeAdapter(DatasetView)
_DATASETS: TypeAdapter[list[DatasetView]] = TypeAdapter(list[DatasetView])
_HEALTH: TypeAdapter[Health] = TypeAdapter(Health)
_JOBS: TypeAdapter[Page[JobView]] = TypeAdapter(Page[JobView])
_WORKER: TypeAdapter[WorkerView] = TypeAdapter(WorkerView)
_WORKERS: TypeAdapter[Workers] = TypeAdapter(Workers)
_MODELS: TypeAdapter[Page[ModelView]] = TypeAdapter(Page[ModelView])

DEFAULT_URL = "http://127.0.0.1:8000"
_PAGE = 100


class Lab:
    """A running lab.

    Models and datasets are named as people named them, or by id. Every method raises LabError,
    which says what is wrong and what to do; the lab checks all parameters.

    Args:
        url: Its address; by default `LAB_URL` of the environment, else http://127.0.0.1:8000.
        timeout_s: How long an answer may take.
        token: Where it asks for one; by default `LAB_TOKEN` of the environment, else, for a lab of
            this machine, the one in its data folder (`LAB_DATA_DIR`, by default `data`).
    """

    def __init__(
        self, url: str | None = None, *, timeout_s: float = 30.0, token: str | None = None
    ) -> None:
        address = url or os.environ.get("LAB_URL") or DEFAULT_URL
        self._transport = Transport(address, timeout_s, token)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        """Close the connections; jobs go on."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def health(self) -> Health:
        """Whether the lab's parts answer, and each queue has a worker."""
        return self._transport.get(_HEALTH, "/api/health")

    def workers(self) -> list[WorkerView]:
        """Who runs the lab's jobs: what each has and runs, by name."""
        return list(self._transport.get(_WORKERS, "/api/workers").items)

    def drain(self, worker: str) -> WorkerView:
        """Let a worker finish its job and take no other one; for admins."""
        return self._worker(worker, "drain")

    def resume(self, worker: str) -> WorkerView:
        """Let a drained worker take jobs again; for admins."""
        return self._worker(worker, "resume")

    # What there is

    def datasets(self) -> list[DatasetView]:
        """All datasets, newest first."""
        return self._transport.get(_DATASETS, "/api/datasets")

    def dataset(self, name_or_id: str) -> DatasetView:
        """One dataset."""
        if is_id(name_or_id):
            return self._transport.get(_DATASET, f"/api/datasets/{name_or_id}")
        found = self._transport.get(_DATASETS, "/api/datasets", {"name": name_or_id})
        return the_one_named(name_or_id, found, "dataset", self.datasets)

    def manifest(self, name_or_id: str, path: str | Path) -> Path:
        """Write a dataset's images, one row each with class and SHA-256, to a .csv file."""
        target = Path(path)
        self._transport.save(f"/api/datasets/{self._dataset_id(name_or_id)}/manifest.csv", target)
        return target

    def models(self) -> list[ModelView]:
        """All models, newest first."""
        return self._all(_MODELS, "/api/models", {})

    def model(self, name_or_id: str) -> ModelView:
        """One model, with its card."""
        if is_id(name_or_id):
            return self._transport.get(MODEL, f"/api/models/{name_or_id}")
        found = self._all(_MODELS, "/api/models", {"name": name_or_id})
        return the_one_named(name_or_id, found, "model", self._newest_models)

    def weights(self, name_or_id: str, path: str | Path) -> Path:
        """Write a model's file: weights as safetensors; of a black box its ONNX file, or how it is
        asked."""
        target, model = Path(path), self.model(name_or_id)
        self._transport.save(f"/api/models/{model.id}/weights", target)
        return target

    def jobs(
        self,
        *,
        kind: JobKind | str | None = None,
        status: JobStatus | str | None = None,
        limit: int = 20,
    ) -> list[Job[JobResult]]:
        """The newest jobs, newest first."""
        chosen = {"kind": kind, "status": status}
        query = {name: str(value) for name, value in chosen.items() if value is not None}
        views = self._all(_JOBS, "/api/jobs", query, limit=limit)
        return [Job(self._transport, view) for view in views]

    def job(self, job_id: str) -> Job[JobResult]:
        """One job, by its id or the beginning of its id."""
        if is_id(job_id):
            return self._job(self._transport.get(JOB, f"/api/jobs/{job_id}"))
        return self._job(self._job_starting(job_id))

    # What it can do

    def import_dataset(
        self,
        file: str | Path | None = None,
        *,
        name: str,
        source: str | None = None,
        **options: Any,
    ) -> Job[ImportResult]:
        """Bring in an archive, or a dataset that the lab fetches or draws.

        Either `file`, or `source`: shapes, cifar10, cifar100, svhn. Options are those of
        `ImportParams`: image_size, train_per_class, seed, order, classes, encoding, and preview,
        with which the job says what it would import and nothing is kept.
        """
        return self._upload("/api/datasets", file, {"name": name, "source": source, **options})

    def import_model(
        self,
        file: str | Path | None = None,
        *,
        name: str,
        dataset: str,
        architecture: str | None = None,
        **options: Any,
    ) -> Job[ImportModelResult]:
        """Bring in a model that was trained elsewhere: safetensors, a state dict, ONNX, or one that
        answers at an address, which `address` then names in place of a file.

        Args:
            dataset: Whose classes and image size the model has; its test images are the check.
            architecture: `wrn-28-10`, `preactresnet-18`, `timm:<name>` or `plugin:<name>`;
                none for an ONNX file, which holds its own network, and for an address.
            options: Those of `ImportModelParams`: classes, mean, std, expected, tolerance; of an
                ONNX file also pixels, layout and black_box; of an address pixels, layout, sends,
                at_once, per_second, budget and patience_s.
        """
        values = {"name": name, "dataset": self._dataset_id(dataset)}
        if architecture is not None:
            values["architecture"] = architecture
        return self._upload("/api/models", file, {**values, **options})

    def train(
        self,
        name: str,
        *,
        dataset: str,
        teacher: str | None = None,
        preset: str | None = None,
        priority: str = Priority.NORMAL,
        **params: Any,
    ) -> Job[TrainResult]:
        """Train a model: a clean one, or with a teacher a student (AGKD-BML).

        Args:
            preset: Named settings to start from: paper, agkd-bml-7, quick, gpu-short.
            priority: low, normal or high: before which others it runs; likewise of other jobs.
            params: Those of `TrainParams`, for example recipe, epochs, epsilon; they come before
                the preset's.
        """
        named = {} if preset is None else _preset(preset)
        body = {**named, "name": name, "dataset": self._dataset_id(dataset), **params}
        if teacher is not None:
            body = {
                "recipe": "agkd_bml",
                **body,
                "teacher": self._model_id(a_name(teacher, "teacher")),
            }
        return self._submit(JobKind.TRAIN, body, priority=priority)

    def evaluate(
        self,
        models: str | Sequence[str],
        *,
        dataset: str,
        attack: str | Mapping[str, Any] | Attack | None = None,
        sources: Sequence[str] = (),
        name: str | None = None,
        priority: str = Priority.NORMAL,
        **params: Any,
    ) -> Job[EvaluationResult]:
        """Measure how robust models are, on the same images.

        Args:
            models: One to eight of them.
            attack: The first attack, which draws the curves: its name, or the fields of `Attack`.
            sources: Models that the attack `transfer` attacks in place of those under test.
            name: What the evaluation is called; by its models unless said.
            params: Those of `EvaluateParams`, for example images, epsilon="8/255",
                further=["autoattack"].
        """
        body = {
            "models": [self._model_id(model) for model in several_names(models, "models")],
            "dataset": self._dataset_id(dataset),
            "sources": [self._model_id(model) for model in several_names(sources, "sources")],
            **params,
        }
        if attack is not None:
            body["attack"] = {"method": attack} if isinstance(attack, str) else attack
        return self._submit(JobKind.EVALUATE, body, name, priority=priority)

    def ablation(
        self,
        name: str,
        *,
        dataset: str,
        recipes: Sequence[str] = (),
        teacher: str | None = None,
        training: Mapping[str, Any] | None = None,
        priority: str = Priority.NORMAL,
        **params: Any,
    ) -> Job[AblationResult]:
        """Train several recipes with several seeds, and measure every model.

        Args:
            recipes: In the order of the table, for example ["clean", "pgd_at", "agkd_bml"]; none
                with a design="parts" or "steps", which has rows of its own.
            teacher: A clean model; every recipe but `clean` starts from its weights.
            training: What all trainings share, of `TrainParams`: {"epochs": 30}.
            params: Those of `AblationParams`, for example seeds=[0, 1], grid={"steps": [7, 10]},
                own={"pgd_at": {"label_smoothing": 0}}, measure={"autoattack": False}.
        """
        shared: dict[str, Any] = {"name": name, "dataset": self._dataset_id(dataset)}
        if teacher is not None:
            model = self._model_id(a_name(teacher, "teacher"))
            shared |= {"recipe": "agkd_bml", "teacher": model}
        body = {
            "name": name,
            "training": {**shared, **_an_object(training, "training")},
            "recipes": several_names(recipes, "recipes"),
            **params,
        }
        return self._submit(JobKind.ABLATION, body, priority=priority)

    def release(self, model: str, *, priority: str = Priority.NORMAL) -> Job[ReleaseResult]:
        """Make of a model what others need to run it without the lab; `export("net.zip")` has it:
        safetensors, ONNX, a model card with figures and verdict, and Python that runs it.
        """
        body = {"model": self._model_id(a_name(model, "model"))}
        return self._submit(JobKind.RELEASE, body, priority=priority)

    def live(
        self, image: str | Path, *, models: str | Sequence[str], **options: Any
    ) -> Job[ExplainResult]:
        """Attack one image on models of the same classes, and see where each of them looks.

        Args:
            image: PNG, JPEG or WebP.
            models: One to nine of them, the reference first.
            options: Those of `Attack` and of `ExplainParams`, for example method="pgd", steps=10,
                max_epsilon="16/255", label="cat".
        """
        chosen = [self._model_id(model) for model in several_names(models, "models")]
        return self._upload("/api/live", image, {"models": chosen, **options}, called="image")

    def rerun(self, export: str | Path) -> Job[EvaluationResult]:
        """Run an evaluation again as its `.json` export says; checksums decide, not ids."""
        try:
            body = json.loads(Path(export).read_bytes())
        except (OSError, ValueError) as error:
            raise unreadable(export, error) from error
        return self._job(self._transport.post(JOB, "/api/jobs/rerun", body, key=_new_key()))

    def compare(self, *jobs: Job[Any] | str) -> Comparison:
        """Finished evaluations side by side, image by image; waits for none of them."""
        ids = [job.id if isinstance(job, Job) else self.job(job).id for job in jobs]
        return self._transport.get(_COMPARISON, "/api/comparisons", {"job": ids})

    def conditions(self) -> list[Condition]:
        """Every dataset and threat model under which something was measured; most models first."""
        return self._transport.get(_CONDITIONS, "/api/board/conditions")

    def board(self, condition: Condition, *, every: bool = False) -> Board:
        """Models measured under one condition, the most robust first.

        Each by its strongest evaluation; with `every` by each of them.
        """
        asked = {"dataset": condition.dataset, "threat": condition.key, "every": str(every)}
        return self._transport.get(_BOARD, "/api/board", asked)

    def change_model(self, name_or_id: str, **changes: Unpack[Change]) -> ModelView:
        """Rename, note, tag or archive a model; what is left out stays."""
        return self._transport.patch(MODEL, f"/api/models/{self._model_id(name_or_id)}", changes)

    def delete_model(self, name_or_id: str) -> str:
        """Move a model into the bin for a week; its id, by which it is restored."""
        model = self._model_id(name_or_id)
        self._transport.delete(f"/api/models/{model}")
        return model

    def restore_model(self, model_id: str) -> ModelView:
        """Take a model out of the bin."""
        return self._transport.post(MODEL, f"/api/models/{model_id}/restore")

    def change_dataset(self, name_or_id: str, **changes: Unpack[Change]) -> DatasetView:
        """Rename, note, tag or archive a dataset; what is left out stays."""
        path = f"/api/datasets/{self._dataset_id(name_or_id)}"
        return self._transport.patch(_DATASET, path, changes)

    def delete_dataset(self, name_or_id: str) -> str:
        """Move a dataset into the bin for a week; its id, by which it is restored."""
        dataset = self._dataset_id(name_or_id)
        self._transport.delete(f"/api/datasets/{dataset}")
        return dataset

    def restore_dataset(self, dataset_id: str) -> DatasetView:
        """Take a dataset out of the bin."""
        return self._transport.post(_DATASET, f"/api/datasets/{dataset_id}/restore")

    def users(self) -> list[Account]:
        """Whoever has an account, by name; for admins."""
        return self._transport.get(_ACCOUNTS, "/api/users")

    def change_user(
        self, name: str, *, role: Role | None = None, disabled: bool | None = None
    ) -> Account:
        """Give somebody another role, or disable or enable the account; for admins."""
        changes = {"role": role, "disabled": disabled}
        said = {key: value for key, value in changes.items() if value is not None}
        return self._transport.patch(_ACCOUNT, f"/api/users/{quote(name, safe='')}", said)

    # How

    def _upload(
        self,
        path: str,
        file: str | Path | None,
        values: Mapping[str, Any],
        *,
        called: str = "file",
    ) -> Job[Any]:
        """Send a form; a list becomes a field for each of its entries."""
        fields = [
            (key, str(one))
            for key, value in values.items()
            if value is not None
            for one in (value if isinstance(value, list | tuple) else (value,))
        ]
        if file is None:
            return self._job(self._transport.upload(JOB, path, fields, None))
        try:
            with Path(file).open("rb") as stream:
                return self._job(self._transport.upload(JOB, path, fields, stream, called=called))
        except OSError as error:
            raise unreadable(file, error) from error

    def _worker(self, name: str, verb: str) -> WorkerView:
        path = quote(a_name(name, "worker"), safe="")
        return self._transport.post(_WORKER, f"/api/workers/{path}/{verb}")

    def _submit(
        self,
        kind: JobKind,
        params: Mapping[str, Any],
        name: str | None = None,
        *,
        priority: str,
    ) -> Job[Any]:
        body = {"kind": kind, "params": to_jsonable_python(params), "priority": priority}
        body |= {"name": name} if name else {}
        return self._job(self._transport.post(JOB, "/api/jobs", body, key=_new_key()))

    def _job(self, view: JobView) -> Job[Any]:
        return Job(self._transport, view)

    def _model_id(self, name_or_id: str) -> str:
        return name_or_id if is_id(name_or_id) else self.model(name_or_id).id

    def _dataset_id(self, name_or_id: str) -> str:
        name = a_name(name_or_id, "dataset")
        return name if is_id(name) else self.dataset(name).id

    def _newest_models(self) -> list[ModelView]:
        return self._all(_MODELS, "/api/models", {}, limit=_PAGE)

    def _job_starting(self, start: str) -> JobView:
        """The only job whose id begins so."""
        if not may_start_id(start):
            return the_one_starting(start, (), 0)
        page = self._transport.get(_JOBS, "/api/jobs", {"starts": start})
        return the_one_starting(start, page.items, page.total)

    def _all(
        self,
        kind: TypeAdapter[Page[T]],
        path: str,
        query: Mapping[str, str],
        limit: int | None = None,
    ) -> list[T]:
        """The items of all pages of a list, or the first of them."""
        items: list[T] = []
        number, size = 1, _PAGE if limit is None else min(_PAGE, max(1, limit))
        while True:
            page = self._transport.get(kind, path, {**query, "page": number, "page_size": size})
            items += page.items
            if number >= page.pages or (limit is not None and len(items) >= limit):
                return items[:limit]
            number += 1


def _an_object(value: Any, field: str) -> Mapping[str, Any]:
    if value is None or isinstance(value, Mapping):
        return value or {}
    raise LabError("Not parameters", f"`{field}` has parts: {field}.epochs, for one.", field=field)


def _preset(name: str) -> dict[str, Any]:
    try:
        return training_preset(a_name(name, "preset")).values
    except ValueError as error:
        raise LabError("No such preset", f"{error}.", field="preset") from error


def _new_key() -> str:
    """A key that makes the lab take a request once, however often it is sent."""
    return uuid.uuid4().hex
