"""A training in several processes is one job: cancelled, lost, stopped and continued as one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing import ProcessFailure, RunProcsResult

from app.contracts.events import LogEvent, LogLevel, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, TrainParams
from app.errors import JobError
from app.store import catalogue, jobs
from app.store.jobs import LeaseLost
from app.store.tables import ModelRow
from tests.jobs.runs import add_job, events_of, open_lab, row_of, run
from tests.jobs.teams import images_of, network, params_of
from tests.jobs.trainings import lines, models_of
from tests.plugins.statements import statements
from worker.job_run import run_job
from worker.jobs import refusing, together
from worker.jobs.context import AttemptLost, Cancelled, Interrupted, JobContext, WorkerLab
from worker.jobs.last_words import End, Word, leave, words
from worker.jobs.named import Named
from worker.jobs.training_state import TrainingState
from worker.team import Team

_ROOT = Path(__file__).resolve().parents[2]
_LONG = {"architecture": "wrn-10-1", "epochs": 400, "batch_size": 32, "processes": 2}


class _Bell:
    """Does something, once, when a job has taken so many steps."""

    def __init__(self) -> None:
        self.lab: WorkerLab | None = None
        self.act: Callable[[str], None] | None = None
        self.steps = 0

    def __call__(self, job: str) -> None:
        if self.act is None or self.lab is None:
            return
        seen = [e.done for e in events_of(self.lab, job) if isinstance(e, ProgressEvent)]
        if max(seen, default=0) >= self.steps:
            act, self.act = self.act, None
            act(job)


@pytest.fixture(scope="module")
def bell() -> _Bell:
    return _Bell()


@pytest.fixture(scope="module")
def lab(bell: _Bell, tmp_path_factory: pytest.TempPathFactory) -> WorkerLab:
    torch.set_num_threads(1)
    opened = open_lab(tmp_path_factory.mktemp("lab"), ring=bell, checkpoint_s=0.01)
    run(opened, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=10))
    bell.lab = opened
    return opened


def _params(lab: WorkerLab, **changes: Any) -> TrainParams:
    dataset = catalogue.datasets(lab.database)[0].id
    return TrainParams.model_validate({"name": "Net", "dataset": dataset, **_LONG, **changes})


def _ranks(worker: int) -> list[int]:
    """The processes of a training that a worker has started, first to last."""
    return sorted(rank for rank, parent in _running() if parent == worker)


def _running() -> Iterator[tuple[int, int]]:
    """All processes of trainings, and whose children they are."""
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_text()
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):  # no process, or it is gone
            continue
        if "worker.jobs.rank" in command and state != "Z":
            yield int(folder.name), int(parent)


def _steps(lab: WorkerLab, job: str) -> int:
    return max(e.done for e in events_of(lab, job) if isinstance(e, ProgressEvent))


@pytest.mark.slow
@pytest.mark.trains
def test_cancelled_it_goes_on_in_one_process(lab: WorkerLab, bell: _Bell) -> None:
    bell.steps, bell.act = 3, lambda job: jobs.request_cancel(lab.database, job) and None
    cancelled = run(lab, JobKind.TRAIN, _params(lab))
    assert cancelled.status == JobStatus.CANCELLED
    assert _ranks(os.getpid()) == []
    steps = _steps(lab, cancelled.id)
    bell.steps, bell.act = steps + 3, lambda job: jobs.request_cancel(lab.database, job) and None
    goes_on = run(lab, JobKind.TRAIN, _params(lab, processes=1, continue_from=cancelled.id))
    assert goes_on.status == JobStatus.CANCELLED
    said = lines(lab, goes_on.id, LogLevel.INFO)
    (after,) = [int(line.split()[3]) for line in said if line.startswith("Going on after")]
    assert after >= steps


@pytest.mark.slow
@pytest.mark.trains
def test_a_process_that_is_killed_ends_the_attempt_and_the_next_one_goes_on(
    lab: WorkerLab, bell: _Bell
) -> None:
    def kill(job: str) -> None:
        os.kill(_ranks(os.getpid())[1], signal.SIGKILL)

    job = add_job(lab, JobKind.TRAIN, _params(lab, epochs=10))
    bell.steps, bell.act = 3, kill
    assert run_job(lab, job, stopping=lambda: False) is None
    assert row_of(lab, job).status == JobStatus.QUEUED
    assert _ranks(os.getpid()) == []
    lost = "The worker of attempt 1 was lost: process 2 of 2 was ended by SIGKILL."
    assert lost in lines(lab, job, LogLevel.WARNING)

    assert run_job(lab, job, stopping=lambda: False) == JobStatus.SUCCEEDED
    said = [line for line in lines(lab, job, LogLevel.INFO) if line.startswith("Going on after")]
    assert len(said) == 1
    best, last = models_of(lab, row_of(lab, job))
    assert last.card["epoch"] == 10
    assert best.card["params"]["processes"] == 2
    assert not any(name.startswith("module.") for name in _names(lab, best.id))
    assert not lab.files.checkpoints(job).exists()


def _names(lab: WorkerLab, model: str) -> list[str]:
    from safetensors import safe_open

    with safe_open(lab.files.weights(model), "pt") as file:  # type: ignore[no-untyped-call]
        return list(file.keys())


@pytest.mark.slow
@pytest.mark.trains
def test_without_the_worker_no_process_trains_on(lab: WorkerLab, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(_params(lab).model_dump_json())
    environment = {"LAB_DATA_DIR": str(lab.settings.data_dir), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "train", str(tmp_path / "params.json")],
        cwd=_ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert any(line.startswith("epoch 1 of 400: ") for line in worker.stdout)
        ranks = _ranks(worker.pid)
        assert len(ranks) == 2
        worker.kill()
    deadline = time.monotonic() + 10
    while dict(_running()).keys() & ranks:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.trains
def test_after_a_training_no_interpreter_is_taken_down(
    lab: WorkerLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of gloo that let go of their last tensors then would abort the process."""
    aborts = "import atexit, os\nif 'RANK' in os.environ:\n    atexit.register(os.abort)\n"
    (tmp_path / "sitecustomize.py").write_text(aborts)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = add_job(lab, JobKind.TRAIN, _params(lab, epochs=1))
    assert run_job(lab, job, stopping=lambda: False) == JobStatus.SUCCEEDED


class _Running:
    """Processes that run for so many looks at them, and end well."""

    def __init__(self, looks: int, at: int, act: Callable[[], None]) -> None:
        self._looks, self._at, self._act, self._looked = looks, at, act, 0

    def wait(self, _timeout: float) -> RunProcsResult | None:
        self._looked += 1
        if self._looked == self._at:
            self._act()
        return None if self._looked < self._looks else RunProcsResult()


def test_followers_hear_soon_and_sql_is_not_asked_at_every_look(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, reported, heard = [0.0], list[float](), list[float]()
    job = add_job(lab, JobKind.TRAIN, _params(lab))
    claim = jobs.claim(lab.database, job, lease_s=60)
    assert claim is not None

    def report() -> None:
        reported.append(now[0])
        jobs.report(lab.database, claim, [LogEvent(text="epoch 1")])

    @contextmanager
    def started(*_: Any) -> Iterator[_Running]:
        yield _Running(101, 38, report)

    def later(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(together, "_started", started)
    monkeypatch.setattr(together.time, "sleep", later)  # type: ignore[attr-defined]
    waits = replace(lab, clock=lambda: now[0], ring=lambda _: heard.append(now[0]))
    context = JobContext(waits, claim, lambda: False)
    with statements() as said:
        together.train(context, _params(lab), Named.of(lab.database, _params(lab)))
    asked = [each for each in said if "FROM jobs" in each]
    assert now[0] == pytest.approx(10.0)
    assert len(asked) <= 10.0 / 0.4 + 2
    assert any(reported[0] <= each <= reported[0] + 0.5 for each in heard)


def test_each_process_knows_the_teacher_without_a_database(lab: WorkerLab) -> None:
    row = ModelRow(id="e" * 32, name="Teacher", created_at=1.0, sha256="0" * 64, size_bytes=1,
                   card={"name": "Teacher"})  # fmt: skip
    with lab.database.writing() as session:
        session.add(row)
    params = _params(lab, recipe="agkd_bml", teacher=row.id)
    told = json.loads(json.dumps(Named.of(lab.database, params).as_json()))
    named = Named.from_json(told)
    assert named.teacher is not None
    assert (named.teacher.name, named.teacher.card) == ("Teacher", {"name": "Teacher"})
    assert named.dataset.id == params.dataset


_REFUSED = Word(End.FAILED, "The batch is too large.", "Halve it.", "batch_size", at=2.0)
_ALONE = Word(End.CONTACT, "another process of the training was lost", at=1.0)
_SIGKILL = {1: ProcessFailure(1, 7, -signal.SIGKILL, "")}
_ENDED = {0: ProcessFailure(0, 7, 1, ""), 1: ProcessFailure(1, 8, -signal.SIGTERM, "")}


@pytest.mark.parametrize(
    ("said", "failures", "log"),
    [
        ({0: _ALONE}, _SIGKILL, "process 2 of 4 was ended by SIGKILL"),
        ({0: _ALONE}, _ENDED, "another process of the training was lost"),
        ({0: _ALONE, 1: Word(End.ROOM, "The disk is full.")}, _ENDED, "The disk is full."),
        ({}, _ENDED, "a process of the training ended without a word"),
    ],
)
def test_an_attempt_is_lost_for_a_reason(
    said: dict[int, Word], failures: dict[int, ProcessFailure], log: str
) -> None:
    lost = together.why(said, failures, team=4)
    assert isinstance(lost, AttemptLost)
    assert log in lost.loss.log


def test_what_one_process_refuses_is_what_the_job_says() -> None:
    refused = together.why({0: _ALONE, 1: _REFUSED}, _ENDED, team=2)
    assert isinstance(refused, JobError)
    assert (refused.detail, refused.hint) == ("The batch is too large.", "Halve it.")
    assert refused.field == "batch_size"


def test_what_the_first_process_decides_counts_whatever_becomes_of_others() -> None:
    for end, kind in [
        (End.CANCELLED, Cancelled), (End.INTERRUPTED, Interrupted), (End.LEASE_LOST, LeaseLost)
    ]:  # fmt: skip
        assert isinstance(together.why({0: Word(end), 1: _ALONE}, _SIGKILL, team=2), kind)


def test_last_words_come_back_as_they_were_left(tmp_path: Path) -> None:
    for rank, word in enumerate([_ALONE, _REFUSED]):
        leave(tmp_path, rank, word)
    assert words(tmp_path) == {0: _ALONE, 1: _REFUSED}


def test_no_more_processes_than_cores(lab: WorkerLab) -> None:
    job = run(lab, JobKind.TRAIN, _params(lab, processes=64, batch_size=64))
    assert job.failure is not None
    assert job.failure["detail"].startswith("64 processes need a core each, and this worker has")
    assert job.failure["field"] == "processes"


def test_several_machines_need_a_place_to_meet(lab: WorkerLab) -> None:
    job = run(lab, JobKind.TRAIN, _params(lab, nodes=2, processes=1))
    assert job.failure is not None
    assert "LAB_RENDEZVOUS" in job.failure["hint"]


def test_layers_that_draw_are_refused() -> None:
    params = params_of(recipe="clean", processes=2)
    model = network(0).float()
    model.body.append(torch.nn.Dropout(0.1))  # type: ignore[operator]
    state = TrainingState.start(model, params, 21)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(JobError, match="draws random numbers in its layers"):
        refusing.check_team(params, state, Team(0, 2), images_of(5, 21), images_of(6, 10))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("train", "held_out"), [(17, 10), (21, 1)])
def test_too_few_images_for_all_are_refused(train: int, held_out: int) -> None:
    params = params_of(recipe="clean", processes=2)
    state = TrainingState.start(network(0), params, train)
    with pytest.raises(JobError, match="too few for 2 processes"):
        refusing.check_team(params, state, Team(0, 2), images_of(5, train), images_of(6, held_out))
