"""A web and a worker that share no disk: a database, a bucket and a Redis alone.

One stack for all of these tests, on a Redis that speaks TLS and asks for a password. What it
measures is what the same jobs give on one machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import EvaluateParams, ExplainParams, ImportParams, TrainParams
from app.run.supervisor import web_command, worker_command
from app.services import upkeep
from app.services.lab import Lab
from app.settings import Settings
from app.store import catalogue
from app.store.tables import UploadRow
from tests.e2e.lab_client import Json, LabClient, accepted
from tests.jobs.runs import open_lab, run
from tests.plugins import drawn, migrated
from tests.plugins.lab_process import (
    NO_MODELS,
    PATIENCE_S,
    ROOT,
    free_port,
    read_health,
    wait_until,
)
from tests.plugins.secure_redis import SecureRedis, secure_redis
from tests.plugins.storage import CREDENTIALS, S3Server, away

pytestmark = [pytest.mark.slow, pytest.mark.storage, pytest.mark.redis]

TRAINING = {"architecture": "wrn-10-1", "epochs": 1, "batch_size": 64, "seed": 3}
EVALUATION = {"images": 20, "attack": {"steps": 2}, "attention": False, "minimal_epsilon": False}
LIVE = {"steps": 2, "seed": 5}


class Machines:
    """A web, and a worker for all queues, each with a data folder of its own."""

    def __init__(self, folder: Path, broker: SecureRedis, s3: S3Server) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: dict[str, Path] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        self.shared = {
            "LAB_DATABASE_URL": migrated.lay_out(folder / "sql"),
            "LAB_STORAGE_URL": s3.folder(),
            "LAB_REDIS_URL": broker.url,
            "LAB_REDIS_CA": str(broker.ca),
            "LAB_LEASE_S": "6",
            "LAB_CHECKPOINT_S": "0.2",
        }

    def settings(self, machine: str) -> Settings:
        """Those of one more process, in this one."""
        facts = {name.removeprefix("LAB_").lower(): value for name, value in self.shared.items()}
        return Settings.model_validate({"data_dir": self.folder / machine, **facts})

    def start(self, machine: str, command: list[str]) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
        self.output[machine] = self.folder / f"{machine}.txt"
        with self.output[machine].open("wb") as said:
            own = {"LAB_DATA_DIR": str(self.folder / machine), "OMP_NUM_THREADS": "1"}
            self._running.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env=clean | NO_MODELS | CREDENTIALS | self.shared | own,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            )

    def said(self) -> str:
        return "\n".join(path.read_text() for path in self.output.values())

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
            process.wait(PATIENCE_S)


def _all_queues() -> list[str]:
    command = worker_command(Queue.LIVE)
    return [",".join(Queue) if part == Queue.LIVE.value else part for part in command]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    (folder / "redis").mkdir()
    with secure_redis(folder / "redis") as broker:
        found = Machines(folder, broker, s3)
        try:
            found.start("web", web_command(Settings(port=found.port)))
            found.start("worker", _all_queues())
            wait_until(lambda: read_health(found.url).get("ok"), f"a lab: {found.said()}")
            yield found
        finally:
            found.stop()


@pytest.fixture(scope="module")
def api(machines: Machines) -> Iterator[LabClient]:
    client = LabClient(SimpleNamespace(url=machines.url))  # type: ignore[arg-type]
    yield client
    client.http.close()


@pytest.fixture(scope="module")
def picture() -> bytes:
    return drawn.picture()


@pytest.fixture(scope="module")
def archive() -> bytes:
    return drawn.archive(train=40, test=10)


@pytest.fixture(scope="module")
def made(api: LabClient, picture: bytes, archive: bytes) -> dict[str, Json]:
    """What a journey through the stack left, by the kind of job."""
    sent = api.http.post("/api/datasets", data={"name": "Set"}, files={"file": archive})
    imported = api.result(accepted(sent)["id"])
    dataset = imported["dataset"]
    trained = api.result(api.submit("train", name="Model", dataset=dataset, **TRAINING)["id"])
    ask: dict[str, Any] = {"models": [trained["model"]], "dataset": dataset, **EVALUATION}
    evaluated = api.result(api.submit("evaluate", **ask)["id"])
    fields = {"models": [trained["model"]], **LIVE}
    sent = api.http.post("/api/live", data=fields, files={"image": ("x.png", picture)})
    live = api.result(accepted(sent)["id"])
    return {"import": imported, "train": trained, "evaluate": evaluated, "live": live}


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, picture: bytes, archive: bytes
) -> dict[str, Json]:
    """The same jobs on one machine."""
    lab = open_lab(tmp_path_factory.mktemp("alone"))

    def left(kind: JobKind, params: Any) -> Json:
        row = run(lab, kind, params)
        assert row.status == JobStatus.SUCCEEDED, row.failure
        body: Json = json.loads(lab.files.result(row.result_name).read_bytes())
        return body

    def uploaded(data: bytes) -> str:
        upload = hashlib.sha256(data).hexdigest()[:32]
        lab.files.upload(upload).write_bytes(data)
        row = UploadRow(id=upload, filename="x", sha256="", size_bytes=1, created_at=time.time())
        catalogue.add_upload(lab.database, row)
        return upload

    asked: Json = {"name": "Set", "source": "archive", "upload": uploaded(archive)}
    imported = left(JobKind.IMPORT, ImportParams.model_validate(asked))
    asked = {"name": "Model", "dataset": imported["dataset"], **TRAINING}
    trained = left(JobKind.TRAIN, TrainParams.model_validate(asked))
    asked = {"models": [trained["model"]], "dataset": imported["dataset"], **EVALUATION}
    evaluated = left(JobKind.EVALUATE, EvaluateParams.model_validate(asked))
    asked = {
        "models": [trained["model"]],
        "upload": uploaded(picture),
        "attack": {"steps": LIVE["steps"]},
        "seed": LIVE["seed"],
    }
    live = left(JobKind.EXPLAIN, ExplainParams.model_validate(asked))
    return {"import": imported, "train": trained, "evaluate": evaluated, "live": live}


def _figures(result: Any) -> Any:
    """Without names that the lab drew and what a clock says."""
    if isinstance(result, Mapping):
        drawn = {"environment", "id", "model", "upload", "params", "pace", "seconds",
                 "last", "dataset"}  # fmt: skip
        return {k: _figures(v) for k, v in result.items() if k not in drawn}
    if isinstance(result, list):
        return [_figures(each) for each in result]
    return result


def test_what_they_measure_is_what_one_machine_measures(
    made: dict[str, Json], alone: dict[str, Json]
) -> None:
    for kind, result in alone.items():
        assert _figures(made[kind]) == _figures(result), kind
    assert made["train"]["card"]["dataset"]["sha256"] == made["import"]["report"]["checksum"]


def test_the_web_hands_out_what_the_worker_made(
    api: LabClient, made: dict[str, Json], machines: Machines
) -> None:
    model = api.get(f"/api/models/{made['train']['model']}")
    weights = api.http.get(f"/api/models/{model['id']}/weights").content
    assert hashlib.sha256(weights).hexdigest() == model["sha256"]
    page = api.http.get(f"/datasets/{made['import']['dataset']}")
    pictures = re.findall(r'src="(/datasets/[^"]+)"', page.text)
    assert pictures
    assert api.http.get(pictures[0].replace("&amp;", "&")).headers["content-type"] == "image/png"
    for machine in ("web", "worker"):
        left = machines.folder / machine / "storage"
        rooms = [folder for folder in left.iterdir() if folder.name != "copies"]
        assert not [path for folder in rooms for path in folder.rglob("*") if path.is_file()]


def test_a_training_goes_on_on_another_machine(
    api: LabClient, made: dict[str, Json], machines: Machines
) -> None:
    long = TRAINING | {"epochs": 200}
    job = api.submit("train", name="Long", dataset=made["import"]["dataset"], **long)["id"]
    other = Lab.open(machines.settings("other"))
    try:
        wait_until(lambda: other.files.has_checkpoint(job), "a checkpoint in the bucket")
        api.http.post(f"/api/jobs/{job}/cancel")
        assert api.wait(job)["status"] == "cancelled"
        folder = other.files.here(other.files.checkpoints(job))
        assert (folder / "1" / "last.pt").stat().st_size > 0
    finally:
        other.close()
    asked = long | {"dataset": made["import"]["dataset"], "continue_from": job}
    again = api.submit("train", name="Long", **asked)["id"]
    api.wait_for(again, lambda event: "Going on after" in str(event.data), "going on")
    api.http.post(f"/api/jobs/{again}/cancel")
    assert api.wait(again)["status"] == "cancelled"


def test_a_storage_that_is_away_is_said_and_jobs_wait_for_it(
    api: LabClient, made: dict[str, Json], machines: Machines, s3: S3Server
) -> None:
    dataset = made["import"]["dataset"]
    with away(s3):
        ask = {"models": [made["train"]["model"]], "dataset": dataset, **EVALUATION}
        job = api.submit("evaluate", **ask)["id"]
        assert "does not answer" in read_health(machines.url)["trouble"]
        shapes = {"name": "x"}
        sent = api.http.post("/api/datasets", data=shapes, files={"file": ("x.zip", b"PK")})
        assert sent.status_code == 503
        assert "does not answer" in sent.json()["detail"]
        assert int(sent.headers["retry-after"]) > 0
        assert api.job(job)["status"] in ("queued", "running")
    assert _figures(api.result(job)) == _figures(made["evaluate"])
    assert read_health(machines.url)["ok"]


def test_what_is_deleted_leaves_the_bucket(
    api: LabClient,
    made: dict[str, Json],
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = made["train"]["model"]
    assert api.http.delete(f"/api/models/{model}").status_code in (200, 204)
    monkeypatch.setattr(upkeep, "_KEPT_S", 0)
    lab = Lab.open(machines.settings("other"))
    try:
        path = lab.files.weights(model)
        assert lab.files.has(path)
        upkeep.clear(lab)
        assert not lab.files.has(path)
        bucket = lab.files._bucket  # type: ignore[attr-defined]
        assert not [key for key, _ in bucket.listed() if model in key]
    finally:
        lab.close()


def test_no_secret_is_in_what_they_said(machines: Machines, made: dict[str, Json]) -> None:
    password = re.search(r":([^@]+)@", machines.shared["LAB_REDIS_URL"])
    assert password is not None
    for secret in (*CREDENTIALS.values(), password[1]):
        assert secret not in machines.said()
