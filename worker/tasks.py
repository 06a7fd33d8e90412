"""One thin task for each queue; the argument is a job's id and nothing else."""

from __future__ import annotations

from app.contracts.jobs import TASK_OF, Queue
from worker.celery_app import app, lab, stopping
from worker.job_run import run_job


@app.task(name=TASK_OF[Queue.TRAIN])
def train(job_id: str) -> None:
    """Train a model: hours."""
    run_job(lab(), job_id, stopping=stopping.is_set)


@app.task(name=TASK_OF[Queue.EVALUATE])
def evaluate(job_id: str) -> None:
    """Measure models, or import a dataset: minutes."""
    run_job(lab(), job_id, stopping=stopping.is_set)


@app.task(name=TASK_OF[Queue.LIVE])
def live(job_id: str) -> None:
    """Explain one image: a second."""
    run_job(lab(), job_id, stopping=stopping.is_set)
