"""One thin task for each queue. A message only says that there is something to do: the worker takes
what the queue has next, whichever job the message names.

`train` and `evaluate` run each task in a child of its own, so a lower priority ends with the task.
"""

from __future__ import annotations

import os
from typing import Any

from celery import signals

from app.contracts.jobs import TASK_OF, Queue
from worker.celery_app import app, lab, pulse, stopping
from worker.job_run import help_out, load, run_next
from worker.offer import measured_gflops


@signals.worker_init.connect
def _load(**_: Any) -> None:
    """In the parent, before its children are forked: each has a job of its own, and begins at once.
    A fork of `worker.template` has it all."""
    load()


@app.task(name=TASK_OF[Queue.TRAIN])
def train(_job_id: str) -> None:
    """Train a model: hours. Gives way to whoever waits for an answer; so does an evaluation."""
    os.nice(10)
    _work(Queue.TRAIN)


@app.task(name=TASK_OF[Queue.EVALUATE])
def evaluate(_job_id: str) -> None:
    """Measure models, or import a dataset: minutes; or help with an evaluation."""
    os.nice(5)
    while not _work(Queue.EVALUATE) and help_out(lab(), stopping=stopping.is_set):
        pass


@app.task(name=TASK_OF[Queue.LIVE])
def live(_job_id: str) -> None:
    """Explain one image: a second."""
    _work(Queue.LIVE)


def _work(queue: Queue) -> bool:
    """Run what a queue has next; whether there was something. After the first job the device's
    speed is known: by then torch is there, and nobody waits for it."""
    ran = run_next(lab(), queue, stopping=stopping.is_set) is not None
    if ran and pulse.gflops is None:
        pulse.measured(measured_gflops())
    return ran
