"""`python -m app.client`: what it prints, where, and how it ends.

What a terminal, a pipe or a signal changes is tried in processes of its own.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.client import Lab
from app.client.command_line import main
from app.contracts.events import LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult, Light
from app.contracts.units import from_255
from app.services.lab import Lab as Service
from app.store import jobs
from tests.client.conftest import Worker
from tests.plugins.families import children_of, fail, run_all, take
from tests.plugins.lab_process import PATIENCE_S, ROOT, free_port, wait_until
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, stock_model
from tests.web.example_evaluation import full_evaluation
from tests.web.examples import add_job

Command = Callable[..., "Ended"]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def shell(web: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command against the served lab."""

    def run(*arguments: str, url: str = web) -> Ended:
        try:
            code = main(["--lab", url, *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def finished(lab: Service) -> tuple[str, EvaluationResult]:
    """An evaluation of a teacher and a student whose verdict is red."""
    models = ((stock_model(lab), "Teacher", Recipe.CLEAN),)
    models += ((stock_model(lab, name="Student"), "Student", Recipe.AGKD_BML),)
    result = full_evaluation(models, images=60, light=Light.RED)
    return add_job(lab, JobKind.EVALUATE, result.params, result=result), result


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def test_workers_in_a_table(shell: Command, lab: Service) -> None:
    jobs.add(lab.database, row := job_row(title="Train"))
    assert jobs.claim(lab.database, row.id, lease_s=600, worker="train@box")
    ended = shell("workers", "--drain", "train@box")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split()[:1] == ["train@box"]
    assert "drained" in ended.out
    assert "drained" not in shell("workers", "--resume", "train@box").out
    assert shell("workers", "--drain", "nobody").code == 2
    assert json.loads(shell("workers", "--json").out)[0]["name"] == "train@box"


def test_a_call_without_sense_ends_with_2(shell: Command) -> None:
    assert shell().code == 2
    assert shell("nonsense").code == 2
    assert shell("train", "Name").code == 2
    help_ = shell("--help")
    assert help_.code == 0
    assert "examples:" in help_.out
    assert "exit codes:" in help_.out


def test_a_refused_call_says_what_to_do_and_ends_with_2(shell: Command, lab: Service) -> None:
    stock_dataset(lab)
    unknown = shell("evaluate", "Nobody", "--dataset", "Pets")
    assert (unknown.code, unknown.out) == (2, "")
    assert "There is no model named “Nobody”." in unknown.err
    assert "Traceback" not in unknown.err
    for wrong in ("epochs=0", "epochs", "=3", "a..b=1", "architecture.x=1"):
        refused = shell(
            "train", "Model", "--dataset", "Pets", "--architecture", "wrn-10-2", "--set", wrong
        )
        assert (refused.code, refused.out) == (2, ""), wrong
        assert "Traceback" not in refused.err
    stock_model(lab)
    for wrong in (
        "models=5",
        "models=[null]",
        "dataset=5",
        "sources=null",
        "self=1",
        "seed=\udc80",
    ):
        refused = shell("evaluate", "Teacher", "--dataset", "Pets", "--set", wrong)
        assert (refused.code, refused.out) == (2, ""), wrong
        assert "Traceback" not in refused.err
    for command, wrong in (("train", "teacher=5"), ("import", "file=x")):
        name = ("--name", "Model") if command == "import" else ("Model", "--dataset", "Pets")
        assert shell(command, *name, "--set", wrong).code == 2
    nobody = f"http://127.0.0.1:{free_port()}"
    away = shell("jobs", url=nobody)
    assert away.code == 2
    assert nobody in away.err


def test_parameters_come_from_a_file_then_options_then_assignments(
    shell: Command, lab: Service, tmp_path: Path
) -> None:
    stock_dataset(lab)
    model = stock_model(lab)
    file = tmp_path / "params.json"
    file.write_text(json.dumps({"images": 7, "seed": 7, "attack": {"steps": 7, "restarts": 7}}))
    submitted = shell(
        "evaluate", "Teacher", "--dataset", "Pets", "--params", str(file), "--images", "8",
        "--steps", "8", "--epsilon", "4/255", "--further", "autoattack", "square",
        "--set", "attack.steps=9", "--set", "epsilons=0/255,2/255,0.03", "--set", "step_counts=3",
        "--set", "step_counts=[3,5]", "--set", "corruptions=true", "--detach", "--json",
    )  # fmt: skip
    assert submitted.code == 0, submitted.err
    params = json.loads(submitted.out)["params"]
    assert params["models"] == [model]
    assert (params["seed"], params["images"]) == (7, 8)
    assert (params["attack"]["restarts"], params["attack"]["steps"]) == (7, 9)
    assert params["epsilon"] == pytest.approx(from_255(4))
    assert params["epsilons"] == pytest.approx([0, from_255(2), 0.03])
    assert params["step_counts"] == [3, 5]
    assert params["further"] == ["autoattack", "square"]
    assert params["corruptions"] is True


@pytest.mark.parametrize("text", ["[1, 2]", "no JSON", None])
def test_a_file_without_parameters_is_refused(
    shell: Command, lab: Service, tmp_path: Path, text: str | None
) -> None:
    stock_dataset(lab)
    file = tmp_path / "params.json"
    if text is not None:
        file.write_text(text)
    refused = shell("train", "Model", "--dataset", "Pets", "--params", str(file))
    assert refused.code == 2
    assert str(file) in refused.err


def test_a_detached_job_is_its_id(shell: Command, api: Lab, lab: Service) -> None:
    stock_dataset(lab)
    submitted = shell("train", "Model", "--dataset", "Pets", "--epochs", "3", "--detach")
    (job,) = api.jobs()
    assert (submitted.code, submitted.out, submitted.err) == (0, f"{job.id}\n", "")
    assert job.view.params["epochs"] == 3
    cancelled = shell("cancel", job.id[:8])
    assert (cancelled.code, cancelled.out) == (0, "The job is cancelled.\n")
    assert shell("cancel", job.id).code == 2
    fetched = shell("fetch", job.id)
    assert (fetched.code, fetched.out) == (1, "")
    assert "cancelled" in fetched.err


def test_lists_are_tables_or_json(
    shell: Command, lab: Service, finished: tuple[str, EvaluationResult]
) -> None:
    stock_dataset(lab, name="Pets \x1b[31m")
    job, _ = finished
    assert shell("jobs").out.splitlines()[1].split()[:3] == [job[:8], "evaluate", "succeeded"]
    assert [one["id"] for one in json.loads(shell("jobs", "--json").out)] == [job]
    assert json.loads(shell("jobs", "--status", "failed", "--json").out) == []
    head, *rows = shell("models").out.splitlines()
    assert {row.split()[1] for row in rows} == {"Teacher", "Student"}
    figures = head.index("clean, validation") + len("clean, validation")
    assert all(row[:figures].endswith("90.0 % (59.6–98.2)") for row in rows)
    assert {one["name"] for one in json.loads(shell("models", "--json").out)} == {
        "Teacher", "Student",
    }  # fmt: skip
    listed = shell("datasets").out
    assert "\x1b" not in listed
    assert "900" in listed.splitlines()[1].split()


def test_a_result_is_a_table_with_its_doubts_or_json(
    shell: Command, finished: tuple[str, EvaluationResult]
) -> None:
    job, result = finished
    fetched = shell("fetch", job)
    assert (fetched.code, fetched.err) == (0, "")
    assert "8/255" in fetched.out.splitlines()[0]
    for model in result.models:
        assert model.robust is not None
        assert model.verdict is not None
        row = next(line for line in fetched.out.splitlines() if line.startswith(f"{model.name}  "))
        interval = f"({100 * model.robust.low:.1f}–{100 * model.robust.high:.1f})"
        assert _percent(model.clean.value) in row
        assert f"{_percent(model.robust.value)} {interval}" in row
        assert row.endswith(f"  {model.verdict.light}")
    verdict = result.models[1].verdict
    assert verdict is not None
    worst = verdict.checks[0]
    assert worst.light is Light.RED
    told = f"red {worst.title}: {worst.figure}. {worst.sentence}"
    assert told in " ".join(fetched.out.split())
    assert max(len(line) for line in fetched.out.splitlines()) <= 100
    as_json = shell("fetch", job, "--json")
    assert EvaluationResult.model_validate_json(as_json.out) == result


def _evaluate(api: Lab, lab: Service) -> Worker:
    """A running evaluation of one model."""
    stock_dataset(lab)
    stock_model(lab)
    return Worker.take(lab, api.evaluate("Teacher", dataset="Pets").id)


def _estimate(worker: Worker) -> MetricsEvent:
    model = worker.claim.params["models"][0]
    figures = {"clean": 0.75, "robust": 0.25, "low": 0.2, "high": 0.31, "attacks_left": 2}
    values = {f"{model}:{name}": value for name, value in figures.items()}
    return MetricsEvent(series="estimate", step=50, values=values)


def test_a_watched_job_that_fails_ends_with_1_and_why(
    shell: Command, api: Lab, lab: Service
) -> None:
    worker = _evaluate(api, lab)
    worker.fail("The model has other classes.", "Choose another.")
    watched = shell("watch", worker.claim.job_id)
    assert (watched.code, watched.out) == (1, "")
    assert "The model has other classes." in watched.err
    assert "Choose another." in watched.err


def _heed_interrupts() -> None:
    """As on a terminal: what a script starts in the background ignores SIGINT, and passes it on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A command in a process of its own; `seen` is what it wrote on standard error so far."""

    def __init__(self, url: str, *arguments: str, terminal: bool) -> None:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        if terminal:
            termios.tcsetwinsize(theirs, (24, 120))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.client", "--lab", url, *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, preexec_fn=_heed_interrupts,
        )  # fmt: skip
        os.close(theirs)
        self.seen = b""
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, ours: int) -> None:
        with suppress(OSError):  # a terminal whose last user is gone cannot be read
            while data := os.read(ours, 4096):
                self.seen += data
        os.close(ours)

    def says(self, text: str) -> None:
        wait_until(lambda: text.encode() in self.seen, f"{text!r} on standard error")

    def end(self) -> tuple[int, str]:
        """Waits for the end; returns the exit code and standard output."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return self.process.returncode, out.decode()


def test_a_watched_job_is_told_in_lines_and_ends_with_its_result(
    web: str, api: Lab, lab: Service
) -> None:
    worker, result = _evaluate(api, lab), full_evaluation(images=60)
    watch = Running(web, "watch", worker.claim.job_id, "--json", terminal=False)
    worker.report(_estimate(worker), ProgressEvent(done=1, total=2, phase="PGD", eta_s=100.0))
    watch.says(" 50 %  PGD, 2 min left, robust: Teacher 25.0 % (20.0–31.0), preliminary\n")
    worker.succeed(result)
    code, out = watch.end()
    assert code == 0
    assert EvaluationResult.model_validate_json(out) == result
    assert b"\r" not in watch.seen


def test_on_a_terminal_there_is_a_bar(web: str, api: Lab, lab: Service) -> None:
    worker = _evaluate(api, lab)
    watch = Running(web, "watch", worker.claim.job_id, terminal=True)
    worker.report(_estimate(worker), ProgressEvent(done=1, total=2, phase="PGD", eta_s=100.0))
    watch.says(" 50 % |██████████")
    watch.says("PGD, 2 min left, robust: Teacher 25.0 % (20.0–31.0)")
    worker.report(LogEvent(text="A line for people."))
    watch.says("A line for people.\r\n")
    worker.succeed(full_evaluation(images=60))
    code, out = watch.end()
    assert code == 0
    assert "Teacher" in out


def test_an_interrupted_watch_leaves_the_job_running(web: str, api: Lab, lab: Service) -> None:
    worker = _evaluate(api, lab)
    job = worker.claim.job_id
    watch = Running(web, "watch", job, terminal=True)
    watch.says("running")
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == (130, "")
    watch.says(f"python -m app.client watch {job}")
    watch.says(f"python -m app.client cancel {job}")
    assert b"Traceback" not in watch.seen
    view = api.job(job).view
    assert (view.status, view.cancel_requested) == (JobStatus.RUNNING, False)


def test_a_reader_that_has_seen_enough_is_no_error(web: str) -> None:
    read, write = os.pipe()
    os.close(read)
    call = [sys.executable, "-m", "app.client", "--lab", web, "models"]
    done = subprocess.run(
        call, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_exit_code_reaches_the_shell(web: str) -> None:
    refused = Running(web, "watch", "0" * 32, terminal=False)
    assert refused.end() == (2, "")
    assert refused.seen.decode().splitlines()[0] == "Not found: There is no such job."


def test_an_ablation_is_submitted_shown_and_saved(
    shell: Command, lab: Service, tmp_path: Path
) -> None:
    stock_dataset(lab)
    stock_model(lab)
    call = ("ablation", "Nets", "--dataset", "Pets", "--teacher", "Teacher", "--epochs", "3")
    call += ("--recipes", "clean", "agkd_bml", "--seeds", "0", "1", "--set", "grid.steps=7,10")
    submitted = shell(*call, "--detach")
    assert submitted.code == 0, submitted.err
    job = submitted.out.strip()
    told = shell("table", job[:8]).out
    assert told[told.index("recipe  ") :].splitlines()[:4] == [
        "recipe              trained  clean  FGSM  PGD-20  CW-20  AutoAttack  clean, validation  "
        "PGD-10, validation",
        "Clean                   0/2",
        "AGKD-BML, steps 7       0/2",
        "AGKD-BML, steps 10      0/2",
    ]
    first, *_ = children_of(lab.database, job)
    assert (first.params["epochs"], first.params["seed"]) == (3, 0)
    fail(lab.database, take(lab.database, first.id), "The loss\x1b is not finite.")
    run_all(lab.database, lab.files, job)
    fetched = shell("fetch", job)
    assert fetched.code == 0, fetched.err
    assert "AGKD-BML, steps 7       2/2  80.0 ± 0.0 %" in fetched.out
    assert "  Clean, seed 0: The loss  is not finite. Mend it." in fetched.out.splitlines()
    assert "reported elsewhere" in fetched.out
    saved = shell("fetch", job, "-o", str(tmp_path / "table.csv"))
    assert saved.code == 0, saved.err
    assert (tmp_path / "table.csv").read_text().startswith("job,row,recipe,label,measure,")
    wrong = shell("fetch", job, "-o", str(tmp_path / "table.html"))
    assert (wrong.code, "does not end in .json, .csv" in wrong.err) == (2, True)
    assert shell(*call, "--set", "training=5").code == 2
    assert shell(*call, "--set", "grid.steps=0").code == 2
