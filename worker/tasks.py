"""One thin task for each queue. A message only says that there is something to do: the worker takes
what the queue has next, whichever job the message names.

`train` and `evaluate` run each task in a child of its own, so a lower priority ends with the task.
"""

from __future__ import annotations

import os
from typing import Any

from celery import signals

from app.contracts.jobs import TASK_OF, Queue
from worker.celery_app import app, lab, stopping
from worker.job_run import load, run_next


@signals.worker_init.connect
def _load(**_: Any) -> None:
    """In the parent, before its children are forked: each has a job of its own, and begins at once.
    A fork of `worker.template` has it all."""
    load()


@app.task(name=TASK_OF[Queue.TRAIN])
def train(_job_id: str) -> None:
    """Train a model: hours. Gives way to whoever waits for an answer; so does an evaluation."""
    os.nice(10)
    run_next(lab(), Queue.TRAIN, stopping=stopping.is_set)


@app.task(name=TASK_OF[Queue.EVALUATE])
def evaluate(_job_id: str) -> None:
    """Measure models, or import a dataset: minutes."""
    os.nice(5)
    run_next(lab(), Queue.EVALUATE, stopping=stopping.is_set)


@app.task(name=TASK_OF[Queue.LIVE])
def live(_job_id: str) -> None:
    """Explain one image: a second."""
    run_next(lab(), Queue.LIVE, stopping=stopping.is_set)
