"""Trainings and evaluations mirrored to MLflow and TensorBoard, by a server that has its moods."""

from __future__ import annotations

import json
import logging
import re
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import HttpUrl, Secret
from sqlalchemy import update

from app.contracts.events import MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult
from app.services.lab import Lab
from app.services.tracking import mirror
from app.services.tracking.mirror import Mirror, trackers
from app.services.tracking.mlflow import Mlflow
from app.store import jobs
from app.store.tables import JobRow
from tests.plugins.families import fail, take
from tests.plugins.lab_process import free_port
from tests.plugins.rows import job_row
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import add_job, train_params

SECRET = "T0KEN-that-nobody-sees"
_KEY = re.compile(r"[\w\-. /]{1,250}", re.ASCII)


class Server:
    """As much of MLflow as the lab speaks to, as strict as it is. `mood`: a status for all."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.mood = 200
        self.breaks_at = ""
        """A path at which it fails once."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                path = urlsplit(self.path).path.partition("/api/2.0/mlflow/")[2]
                status, answer = server.mood, {}
                if server.breaks_at == path:
                    server.breaks_at, status = "", 500
                if status == 200:
                    status, answer = server.handle(path, body)
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://lab:{SECRET}@127.0.0.1:{self._http.server_port}/"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def handle(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "experiments/get-by-name":
            found = self.experiments.get(body["experiment_name"][0])
            return (200, {"experiment": {"experiment_id": found}}) if found else (404, {})
        if path == "experiments/create":
            self.experiments[body["name"]] = str(len(self.experiments) + 1)
            return 200, {"experiment_id": self.experiments[body["name"]]}
        if path == "runs/search":
            wanted = re.fullmatch(r"tags\.`lab\.job` = '([0-9a-f]{32})'", body["filter"])
            assert wanted is not None
            assert body["experiment_ids"][0] in self.experiments.values()
            runs = [r for r in self.runs.values() if r["tags"]["lab.job"] == wanted[1]]
            return 200, {"runs": [{"info": run["info"]} for run in runs]} if runs else {}
        if path == "runs/create":
            run = f"run{len(self.runs)}"
            self.runs[run] = {
                "info": {"run_id": run, "status": "RUNNING", "start_time": body["start_time"]},
                "name": body["run_name"], "params": {}, "metrics": [],
                "tags": {tag["key"]: tag["value"] for tag in body["tags"]},
            }  # fmt: skip
            return 200, {"run": self.runs[run]}
        run = self.runs[body["run_id"]]
        if path == "runs/update":
            run["info"] |= {"status": body["status"], "end_time": body["end_time"]}
            return 200, {}
        assert path == "runs/log-batch"
        metrics, params = body.get("metrics", []), body.get("params", [])
        assert len(metrics) <= 1000
        assert len(params) <= 100
        for entry in (*metrics, *params):
            assert _KEY.fullmatch(entry["key"])
        run["params"] |= {entry["key"]: entry["value"] for entry in params}
        run["metrics"] += [m for m in metrics if m not in run["metrics"]]
        return 200, {}


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


@pytest.fixture
def mlflow(lab: Lab, server: Server) -> Iterator[Mirror]:
    tracker = Mlflow(server.url, "Robust nets")
    yield Mirror(lab, tracker)
    tracker.close()


def trained(lab: Lab, *events: MetricsEvent) -> str:
    """A training that reported these points and ended."""
    row = job_row(kind=JobKind.TRAIN, params=train_params(name="N").model_dump(mode="json"))
    jobs.add(lab.database, row)
    claim = take(lab.database, row.id)
    if events:
        jobs.report(lab.database, claim, events)
    fail(lab.database, claim)
    return row.id


def evaluated(lab: Lab) -> tuple[str, EvaluationResult]:
    result = full_evaluation(images=60)
    now = time.time()
    job = add_job(
        lab, JobKind.EVALUATE, result.params, result=result, started_at=now - 9, finished_at=now
    )
    return job, result


def by_step(run: dict[str, Any], key: str) -> dict[int, float]:
    return {m["step"]: m["value"] for m in run["metrics"] if m["key"] == key}


def test_a_training_is_a_run_with_its_curves(lab: Lab, server: Server, mlflow: Mirror) -> None:
    points = [MetricsEvent(series="epoch", step=n, values={"clean": n / 4}) for n in (1, 2)]
    points += [
        MetricsEvent(series="step", step=n, values={"loss": 1 / (n + 1)}) for n in range(1200)
    ]
    again = MetricsEvent(series="epoch", step=2, values={"clean": 0.75})
    job = trained(lab, *points, again)
    assert mlflow.catch_up() > 0
    (run,) = server.runs.values()
    assert run["info"]["status"] == "FAILED"
    assert run["info"]["end_time"] >= run["info"]["start_time"] > 1.7e12
    assert run["tags"]["lab.job"] == job
    assert run["tags"]["lab.page"].endswith(f"/jobs/{job}")
    assert (run["params"]["epochs"], run["params"]["recipe"]) == ("10", "clean")
    assert by_step(run, "epoch/clean") == {1: 0.25, 2: 0.75}, "the later of two points counts"
    assert len(by_step(run, "step/loss")) == 1200
    assert list(server.experiments) == ["Robust nets"]


def test_an_evaluation_is_a_run_with_each_models_figures(
    lab: Lab, server: Server, mlflow: Mirror
) -> None:
    _, result = evaluated(lab)
    mlflow.catch_up()
    (run,) = server.runs.values()
    assert run["info"]["status"] == "FINISHED"
    assert run["params"]["attack.steps"] == str(result.params.attack.steps)
    for model in result.models:
        name = re.sub(r"[^\w\-. /]", "_", model.name, flags=re.ASCII)
        assert model.robust is not None
        assert by_step(run, f"{name}/robust") == {0: model.robust.value}
        curve = by_step(run, f"{name}/against_epsilon_255")
        assert curve == {round(255 * p.x): p.accuracy.value for p in model.against_epsilon}


def test_a_training_is_followed_epoch_by_epoch(lab: Lab, server: Server, mlflow: Mirror) -> None:
    def epoch(n: int) -> MetricsEvent:
        return MetricsEvent(series="epoch", step=n, values={"clean": n / 4})

    row = job_row(kind=JobKind.TRAIN, params=train_params(name="N").model_dump(mode="json"))
    jobs.add(lab.database, row)
    mlflow.catch_up()
    assert not server.runs, "it waits"
    claim = take(lab.database, row.id)
    mlflow.catch_up()
    (run,) = server.runs.values()
    assert run["params"]["recipe"] == "clean"
    step = MetricsEvent(series="step", step=5, values={"loss": 1.0})
    for n in (1, 2):
        jobs.report(lab.database, claim, [step, epoch(n)])
        mlflow.catch_up()
        assert by_step(run, "epoch/clean") == {k: k / 4 for k in range(1, n + 1)}
    assert run["info"]["status"] == "RUNNING"
    assert by_step(run, "step/loss") == {}
    server.mood = 500
    jobs.report(lab.database, claim, [epoch(3)])
    assert mlflow.catch_up() > 0
    server.mood = 200
    fail(lab.database, claim)
    mlflow.catch_up()
    assert list(server.runs.values()) == [run]
    assert run["info"]["status"] == "FAILED"
    assert sorted(by_step(run, "epoch/clean")) == [1, 2, 3]
    assert by_step(run, "step/loss") == {5: 1.0}


def test_each_job_is_there_once_whoever_starts_again(
    lab: Lab, server: Server, mlflow: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(lab)
    trained(lab)
    add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.FAILED, finished_at=1000.0)
    add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.QUEUED)
    mlflow.catch_up()
    monkeypatch.setattr(mirror, "record", lambda *_: pytest.fail("it is there already"))
    again = Mirror(lab, Mlflow(server.url, "Robust nets"))
    again.catch_up()
    assert len(server.runs) == 2, "what ended long ago or has not begun is not told"
    monkeypatch.undo()
    add_job(lab, JobKind.TRAIN, train_params(), status=JobStatus.RUNNING)
    for one in (again, mlflow):
        one.catch_up()
    assert len(server.runs) == 3, "two that follow a job have one run"


def test_what_is_not_taken_is_told_again(
    lab: Lab, server: Server, mlflow: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="lab.tracking"):
        job, _ = evaluated(lab)
        server.mood = 500
        waits = [mlflow.catch_up() for _ in range(12)]
        assert waits[0] < waits[1] < waits[-1] == mirror._MOST_S
        server.mood, server.breaks_at = 200, "runs/update"
        mlflow.catch_up()
        assert [run["info"]["status"] for run in server.runs.values()] == ["RUNNING"]
        mlflow.catch_up()
    (run,) = server.runs.values()
    assert (run["info"]["status"], run["tags"]["lab.job"]) == ("FINISHED", job)
    keys = [(m["key"], m["step"]) for m in run["metrics"]]
    assert len(set(keys)) == len(keys)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "the first failure of a row, and its end"
    assert SECRET not in "".join(said)


def test_one_that_is_refused_holds_up_no_other(
    lab: Lab, server: Server, mlflow: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = trained(lab), trained(lab)
    keep = mlflow._tracker.keep

    def picky(record: Any) -> None:
        if record.id == bad:
            raise ValueError("not this one")
        keep(record)

    monkeypatch.setattr(mlflow._tracker, "keep", picky)
    mlflow.catch_up()
    mlflow.catch_up()
    assert [run["tags"]["lab.job"] for run in server.runs.values()] == [good]


def test_a_server_that_is_away_is_no_error(lab: Lab) -> None:
    evaluated(lab)
    tracker = Mlflow(f"http://127.0.0.1:{free_port()}", "x")
    assert Mirror(lab, tracker).catch_up() > 0
    tracker.close()


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """What an event file says: records of a length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events.out.tfevents.*")
    data, found = file.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        found |= {
            (value.tag, event.step): value.simple_value
            for value in event.summary.value
            if value.HasField("simple_value")
        }
    return found


def test_tensorboard_gets_a_folder_for_each_job(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    runs = tmp_path / "runs"
    settings = lab.settings.model_copy(update={"tensorboard_dir": runs})
    (tracker,) = trackers(replace(lab, settings=settings))
    job = trained(lab, MetricsEvent(series="epoch", step=3, values={"clean": 0.5}))
    _, result = evaluated(lab)
    Mirror(lab, tracker).catch_up()
    with lab.database.writing() as session:
        session.execute(update(JobRow).values(name="Another name", title="Another title"))
    Mirror(lab, tracker).catch_up()
    folders = sorted(runs.iterdir())
    assert len(folders) == 2
    (of_training,) = (each for each in folders if job[:8] in each.name)
    assert scalars(of_training) == {("epoch/clean", 3): 0.5}
    (of_evaluation,) = (each for each in folders if each != of_training)
    values = set(scalars(of_evaluation).values())
    for model in result.models:
        assert model.robust is not None
        assert any(abs(value - model.robust.value) < 1e-6 for value in values)


def test_nobody_is_told_unless_that_is_set(lab: Lab) -> None:
    assert trackers(lab) == []
    url = Secret(HttpUrl("http://127.0.0.1:1/"))
    settings = lab.settings.model_copy(update={"mlflow_url": url})
    (tracker,) = trackers(replace(lab, settings=settings))
    assert tracker.name == "MLflow"
    tracker.close()
