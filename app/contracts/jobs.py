"""Kinds and states of a job, the allowed transitions, and the names of tasks and queues."""

from __future__ import annotations

from enum import StrEnum


class JobKind(StrEnum):
    """What a job does. The values appear in the API and in the database."""

    IMPORT = "import"
    """Bring a dataset into the lab: an archive, a torchvision dataset, or the drawn `shapes`."""
    TRAIN = "train"
    """Train one model and register it."""
    EVALUATE = "evaluate"
    """Measure models under one attack: accuracy against epsilon and against steps."""
    EXPLAIN = "explain"
    """Attack one uploaded image and show what teacher and student look at."""
    IMPORT_MODEL = "import_model"
    """Bring weights that were trained elsewhere into the lab, once they are shown to fit."""
    RELEASE = "release"
    """Make of a model what others need to run it without the lab."""
    ABLATION = "ablation"
    """Train and measure a table of models: a parent whose children are the jobs that do so."""


class JobStatus(StrEnum):
    """Where a job stands. Three states are final."""

    QUEUED = "queued"
    """Written and waiting for a worker; also after a worker was lost, until the next one."""
    RUNNING = "running"
    """A worker holds the lease."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended with an error that says why and what to do."""
    CANCELLED = "cancelled"
    """Ended because someone asked for it; a training job leaves a usable checkpoint."""

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}

MAX_ATTEMPTS = 3
"""How often a job is started, with no checkpoint written between, before a lost worker makes it
fail."""


class Queue(StrEnum):
    """One queue for each kind of waiting: hours, minutes, seconds."""

    TRAIN = "train"
    EVALUATE = "evaluate"
    LIVE = "live"


QUEUE_OF: dict[JobKind, Queue] = {
    JobKind.IMPORT: Queue.EVALUATE,
    JobKind.TRAIN: Queue.TRAIN,
    JobKind.EVALUATE: Queue.EVALUATE,
    JobKind.EXPLAIN: Queue.LIVE,
    JobKind.IMPORT_MODEL: Queue.EVALUATE,
    JobKind.RELEASE: Queue.EVALUATE,
    JobKind.ABLATION: Queue.TRAIN,
}

PARENTS: frozenset[JobKind] = frozenset({JobKind.ABLATION})
"""Kinds that no worker runs: their rows follow what becomes of their children."""

TASK_OF: dict[Queue, str] = {queue: f"lab.{queue}" for queue in Queue}
"""The Celery task of each queue; its one argument is a job id."""

BELL = "lab:bell"
"""The Redis channel on which a job's id says: there are new events in SQL."""


def presence_key(queue: Queue) -> str:
    """The Redis sorted set of a queue's workers, scored by when they last said so."""
    return f"lab:workers:{queue}"


def silence_key(queue: Queue) -> str:
    """The same of those whose child has not been heard of for `SILENT_AFTER_S`; they are in one of
    the two sets."""
    return f"lab:silent:{queue}"


def offer_key(worker: str) -> str:
    """What a worker says of itself (`contracts.placement.Offer`), as JSON that expires."""
    return f"lab:worker:{worker}"


DRAINED = "lab:drained"
"""The Redis set of the workers that are to hear of no job: SQL has the truth, and the reconciler
says it again."""


def queue_of_gpus(queue: Queue) -> str:
    """What the broker calls the queue of those jobs that need a GPU: workers without one would hear
    of them in vain."""
    return f"{queue}.gpu"


PRESENCE_EVERY_S = 5.0
PRESENCE_TTL_S = 20.0
SILENT_AFTER_S = 10.0
