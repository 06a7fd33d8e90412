"""A training that several processes take together (`worker.jobs.rank`): started here, and ended.

They are started by torchrun's launcher, which ends all of them as soon as one ends in any other way
than well. The first one claims to be this job: it reports, and leaves checkpoints. What the others
do is to follow it. Whether the job must end only the first one finds out; that the worker is being
stopped it learns from a file.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sqlalchemy.exc import DBAPIError
from torch.distributed.elastic.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    ProcessFailure,
    start_processes,
)

from app.contracts.params import TrainParams
from app.contracts.placement import needs_of
from app.errors import JobError
from app.settings import Settings
from app.store import job_queries
from app.store.jobs import LeaseLost
from app.store.losses import Loss
from worker import registry
from worker.jobs.context import AttemptLost, Cancelled, Interrupted, JobContext
from worker.jobs.last_words import JOB, STOP, End, Word, words
from worker.jobs.named import Named
from worker.jobs.throttle import Throttle
from worker.room import cores

_LOOK_EVERY_S = 0.1
_RING_EVERY_S = 0.4
"""Followers hear of what the processes report within half a second."""
_ROOT = Path(__file__).resolve().parents[2]
logging.getLogger(PContext.__module__).setLevel(logging.CRITICAL)
"""What it has to say, the job says."""


def train(context: JobContext, params: TrainParams, named: Named) -> None:
    """Train to the end; what the run then is, its checkpoint says.

    Raises JobError, Cancelled, Interrupted, LeaseLost, and AttemptLost where a process was lost.
    """
    facts = context.lab.settings
    check_machine(facts, params)
    if facts.node != 0:
        raise JobError(
            f"The machine {facts.node} of several joins trainings, and runs none (LAB_NODE)."
        )
    with TemporaryDirectory(prefix="lab-") as name:
        folder, seen = Path(name), -1
        rings = Throttle(_RING_EVERY_S, context.lab.clock)
        job = {"claim": asdict(context.claim), "named": named.as_json()}
        (folder / JOB).write_text(json.dumps(job))
        with _started(facts, params, folder) as processes:
            while (result := processes.wait(0)) is None:
                if context.stopping():
                    (folder / STOP).touch()
                if rings.due():
                    seen = _ring(context, seen)
                time.sleep(_LOOK_EVERY_S)
        _ring(context, seen)
        if result.is_failed():
            raise why(words(folder), result.failures, params.team)


def join(facts: Settings, params: TrainParams) -> str | None:
    """On another machine than that of the job: take part in it.

    Returns why it did not end well there, None where it did. Raises JobError.
    """
    registry.check_gpus(needs_of(params).gpus)
    check_machine(facts, params)
    with TemporaryDirectory(prefix="lab-") as name:
        with _started(facts, params, Path(name)) as processes:
            result = processes.wait(period=_LOOK_EVERY_S)
        assert result is not None
        if not result.is_failed():
            return None
        said = words(Path(name))
        ended = _killed(result.failures, facts.node * params.processes, params.team)
        reasons = [word.text for word in said.values() if word.end is not End.CONTACT]
        return next(iter([*ended, *reasons]), "the processes on other machines are gone")


def check_machine(facts: Settings, params: TrainParams) -> None:
    """Raises JobError where this machine has not what the processes need."""
    if torch.cuda.is_available():
        have, what = torch.cuda.device_count(), "GPU"
    else:
        have, what = cores(), "core"
    if params.processes > have:
        raise JobError(
            f"{params.processes} processes need a {what} each, and this worker has {have}.",
            hint=f"Ask for at most {have}"
            + (", or give a worker more GPUs (LAB_TRAIN_GPUS)." if what == "GPU" else "."),
            field="processes",
        )
    if params.nodes > 1 and facts.rendezvous is None:
        raise JobError(
            f"Nobody said where the {params.nodes} machines meet.",
            hint="Set LAB_RENDEZVOUS to an address and a free port of the first one.",
            field="nodes",
        )


@contextmanager
def _started(facts: Settings, params: TrainParams, folder: Path) -> Iterator[PContext]:
    """The processes of this machine; none is left behind."""
    arguments = ("-m", "worker.jobs.rank", str(folder), str(os.getpid()))
    start = partial(
        start_processes,
        name="train",
        entrypoint=sys.executable,
        args=dict.fromkeys(range(params.processes), arguments),
        envs={local: _environment(facts, params, local) for local in range(params.processes)},
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "launcher")),
    )
    # In a thread the launcher takes over no signals: a worker has ways of its own to stop.
    with ThreadPoolExecutor(1) as aside:
        processes = aside.submit(start).result()
    try:
        yield processes
    finally:
        processes.close()


def _environment(facts: Settings, params: TrainParams, local: int) -> dict[str, str]:
    """What a process is told beside what this one was; `local`: which of this machine's it is."""
    told = {
        "RANK": str(facts.node * params.processes + local),
        "WORLD_SIZE": str(params.team),
        "LOCAL_RANK": str(local),
        "LAB_DATA_DIR": str(facts.data_dir),
        "LAB_CHECKPOINT_S": str(facts.checkpoint_s),
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // params.processes)),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }
    if params.nodes > 1:
        return told | {"LAB_RENDEZVOUS": str(facts.rendezvous)}
    # Nothing of it is for the network.
    told["LAB_RENDEZVOUS"] = ""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    only = {} if loopback is None else {"GLOO_SOCKET_IFNAME": loopback}
    return told | only


def _ring(context: JobContext, seen: int) -> int:
    """Tell followers where events have come; how many there are."""
    with suppress(DBAPIError):  # it is asked again
        last = job_queries.last_event(context.lab.database, context.claim.job_id)
        if last != seen:
            context.lab.ring(context.claim.job_id)
            return last
    return seen


def why(said: Mapping[int, Word], failures: Mapping[int, ProcessFailure], team: int) -> Exception:
    """Why the processes of a job ended, by what they said, and by how those of this machine did."""
    first = said.get(0)
    if first is not None and first.end in _DECIDED:
        return _DECIDED[first.end]()
    for ended in _killed(failures, 0, team):
        return AttemptLost(Loss.of_worker(ended))
    # Who lost contact did so because another one ended.
    causes = sorted(said.values(), key=lambda word: (word.end is End.CONTACT, word.at))
    if not causes:
        return AttemptLost(Loss.of_worker("a process of the training ended without a word"))
    match causes[0]:
        case Word(End.FAILED, text, hint, parameter):
            return JobError(text, hint=hint, field=parameter)
        case Word(End.ROOM, text):
            return AttemptLost(Loss.of_room(text))
        case Word(_, text):
            return AttemptLost(Loss.of_worker(text))


_DECIDED: Mapping[End, type[Exception]] = {
    End.CANCELLED: Cancelled,
    End.INTERRUPTED: Interrupted,
    End.LEASE_LOST: LeaseLost,
}
"""What the first process alone finds out."""


def _killed(failures: Mapping[int, ProcessFailure], first: int, team: int) -> Iterator[str]:
    """Those that a signal ended; the launcher itself ends the others by SIGTERM."""
    for local, failure in sorted(failures.items()):
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            by = signal.Signals(-failure.exitcode).name
            yield f"process {first + local + 1} of {team} was ended by {by}"
