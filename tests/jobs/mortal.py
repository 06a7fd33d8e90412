"""Trainings whose workers die by SIGKILL: `python -m tests.jobs.mortal FOLDER PLAN REPORT`.

PLAN is a JSON list of `{"params": {...}, "deaths": [...]}`. Of each death one worker dies, and the
next one goes on; the last one lives. A death is either `{"step": n}`: from outside, as soon as the
loss of step n is on record; or `{"sync": n}`: within the n-th call of fsync, with a file half done.
No last epoch counts as the best, whatever it learned, so that each training leaves two models.
REPORT gets, for each training: how it ended, the losses on record as `float.hex` by step, the
checksums of the models, how many workers died, and how many of them left a file half written.

This process imports what jobs need and uses none of it, like the parent of Celery's workers; each
worker is a fork of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.contracts.jobs import JobKind
from app.contracts.params import TrainParams
from app.contracts.results import TrainResult
from app.store import catalogue, losses
from tests.jobs.runs import add_job, open_lab, row_of
from worker.job_run import load, run_job
from worker.jobs.stepping import Stepping
from worker.jobs.training_state import Best, TrainingState

FACTS = {"lease_s": 0.2, "checkpoint_s": 0.001}


def main(folder: str, plan: str, report: str) -> None:
    load()
    trainings = json.loads(Path(plan).read_text())
    results = [_live(Path(folder), each["params"], each["deaths"]) for each in trainings]
    Path(report).write_text(json.dumps(results))


def _live(folder: Path, params: Any, deaths: list[Mapping[str, int]]) -> dict[str, Any]:
    lab = open_lab(folder, **FACTS)
    job = add_job(lab, JobKind.TRAIN, TrainParams.model_validate(params))
    lab.database.close()
    trace = folder / f"{job}.losses"
    trace.touch()
    died, torn = 0, 0
    for death in [*deaths, {}]:
        worker = os.fork()
        if worker == 0:
            _work(folder, job, trace, death.get("sync"))
        if "step" in death:
            _kill_at(worker, trace, death["step"])
        _, status = os.waitpid(worker, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            died += 1
            torn += any(folder.rglob(".*.part"))
            _release(folder, job)
    return {"died": died, "torn": torn, "losses": _losses(trace), **_outcome(folder, job)}


def _work(folder: Path, job: str, trace: Path, fatal_sync: int | None) -> None:
    """In the child: run the job, and write down the loss of each step."""
    torch.set_num_threads(1)
    record = os.open(trace, os.O_WRONLY | os.O_APPEND)
    step, keep_best = Stepping.step, TrainingState.keep_best
    fsync, syncs = os.fsync, 0

    def recorded(
        stepping: Stepping, indices: torch.Tensor, *, perturbs: bool
    ) -> dict[str, torch.Tensor]:
        scalars = step(stepping, indices, perturbs=perturbs)
        os.write(record, f"{stepping.taken} {float(scalars['loss']).hex()}\n".encode())
        return scalars

    def early(state: TrainingState, best: Best) -> None:
        if best.epoch < state.params.epochs:
            keep_best(state, best)

    def counted(file: int) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == fatal_sync:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    Stepping.step = recorded  # type: ignore[method-assign]
    TrainingState.keep_best = early  # type: ignore[method-assign]
    os.fsync = counted
    run_job(open_lab(folder, **FACTS), job, stopping=lambda: False)
    os._exit(0)


def _kill_at(worker: int, trace: Path, step: int) -> None:
    before = trace.stat().st_size
    while True:
        with trace.open() as lines:
            lines.seek(before)
            if any(int(line.split()[0]) >= step for line in lines if line.endswith("\n")):
                break
        if os.waitid(os.P_PID, worker, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
    os.kill(worker, signal.SIGKILL)


def _release(folder: Path, job: str) -> None:
    """Wait for the dead worker's lease to end, as the lab's upkeep does."""
    lab = open_lab(folder)
    while job not in losses.release_expired(lab.database, lease_s=FACTS["lease_s"]):
        time.sleep(0.02)
    lab.database.close()


def _losses(trace: Path) -> dict[str, list[str]]:
    """Every loss on record of each step; a step that was repeated has several."""
    seen = defaultdict(list)
    for line in trace.read_text().splitlines():
        step, loss = line.split()
        seen[step].append(loss)
    return seen


def _outcome(folder: Path, job: str) -> dict[str, Any]:
    lab = open_lab(folder)
    row = row_of(lab, job)
    if row.result_file is None:
        return {"status": row.status, "failure": row.failure}
    result = TrainResult.model_validate_json(lab.files.result(row.result_name).read_bytes())
    models = catalogue.models_by_id(lab.database, [result.model, result.last])
    return {
        "status": row.status,
        "checkpoints": lab.files.checkpoints(job).exists(),
        "epochs": [models[each].card["epoch"] for each in (result.model, result.last)],
        "best": models[result.model].sha256,
        "last": models[result.last].sha256,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
