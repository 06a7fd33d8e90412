"""`python -m worker.jobs.rank FOLDER PARENT`: one of the processes that take a training together.

It is told who it is as torchrun tells it (RANK, WORLD_SIZE, LOCAL_RANK). Rank 0 is the job: it has
its claim, from the folder, and gives it to the others, which write no row. Whoever ends
otherwise than well leaves a word in the folder that says why, and waits for nobody:
`worker.jobs.together` ends the others.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

import journal
from app.contracts.events import Event
from app.contracts.jobs import JobKind
from app.contracts.params import TrainParams
from app.contracts.stored import understood
from app.errors import trouble
from app.settings import settings
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost
from app.store.shared_files import files_of
from worker.jobs import training
from worker.jobs.context import (
    STORAGE_PATIENCE_S,
    Cancelled,
    Interrupted,
    JobContext,
    WorkerLab,
)
from worker.jobs.failing import explained
from worker.jobs.last_words import JOB, STOP, End, Word, leave
from worker.jobs.named import Named
from worker.memory import keep_freed_memory
from worker.team import Team

_MEETS_WITHIN = timedelta(minutes=15)
_ANSWERS_WITHIN = timedelta(minutes=30)
"""How long a process waits for the others within a step: for a machine that vanished, and for a
measure of an epoch, or a disk, that takes so long."""
_PARENT_EVERY_S = 0.25


class _Follower(JobContext):
    """The job as others than rank 0 have it: they report nothing, and decide nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self) -> None:
        pass

    def report(self, *events: Event) -> None:
        pass

    def flush(self) -> None:
        pass


def main(folder: Path, parent: int) -> None:
    _end_with(parent)
    facts = settings()
    journal.set_up(facts.log)
    keep_freed_memory()
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    try:
        with _joined(folder, rank, int(os.environ["WORLD_SIZE"]), local) as (team, job):
            _train(folder, team, job)
    except Exception as error:
        leave(folder, rank, _word_of(error))
        _end(1)
    _end(0)


@contextmanager
def _joined(
    folder: Path, rank: int, size: int, local: int
) -> Iterator[tuple[Team, dict[str, Any]]]:
    """The team, once all are there, and what rank 0 knows of the job, a dict."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    store = _store(folder, rank, size)
    if rank == 0:
        store.set(JOB, (folder / JOB).read_text())
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_ANSWERS_WITHIN
    )
    yield Team(rank, size), json.loads(store.get(JOB))
    dist.destroy_process_group()


def _store(folder: Path, rank: int, size: int) -> Store:
    """Where the processes meet: on one machine in a file, which needs no port."""
    meeting = settings().rendezvous
    if meeting is None:
        return dist.FileStore(str(folder / "store"), size)  # type: ignore[attr-defined]
    host, _, port = meeting.rpartition(":")
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, int(port), size, rank == 0, timeout=_MEETS_WITHIN
    )


def _train(folder: Path, team: Team, job: dict[str, Any]) -> None:
    facts, values = settings(), job["claim"]
    claim = Claim(**{**values, "kind": JobKind(values["kind"])})
    database = Database(facts.sql_url, patience_s=60.0)
    files = files_of(facts, database, patience_s=STORAGE_PATIENCE_S)
    lab = WorkerLab(facts, database, files, _quiet)
    kind = JobContext if team.leads else _Follower
    params = understood(TrainParams, claim.params)
    assert isinstance(params, TrainParams)
    with kind(lab, claim, (folder / STOP).exists) as context:
        training.train_to_its_checkpoint(context, params, Named.from_json(job["named"]), team)


def _quiet(_: str) -> None:
    """The bell is rung by who started this process."""


def _word_of(error: Exception) -> Word:
    decided = {Cancelled: End.CANCELLED, Interrupted: End.INTERRUPTED, LeaseLost: End.LEASE_LOST}
    if type(error) in decided:
        return Word(decided[type(error)])
    if (passing := trouble(error)) is not None:
        return Word(End.ROOM, passing)
    if _is_of_contact(error):
        return Word(End.CONTACT, "another process of the training was lost")
    failure = explained(error, "a process of a training")
    return Word(End.FAILED, failure["detail"], failure["hint"], failure.get("field"))


def _is_of_contact(error: Exception) -> bool:
    """Gloo has no kind of error of its own."""
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and "gloo" in str(error).lower()
    )


def _end(code: int) -> NoReturn:
    """At once. What tidies up would wait for processes that wait for this one; and after all went
    well, gloo's threads may still be letting go of tensors, which aborts a process whose
    interpreter is taken down meanwhile (github.com/pytorch/pytorch/issues/190489)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with(parent: int) -> None:
    """Whatever becomes of the worker that started this process, nobody trains on without it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
