"""What the lab says about a job, a model or a dataset: the bodies of the REST answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.placement import Needs, Priority
from app.contracts.results import DatasetReport, ModelCard

T = TypeVar("T")


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Progress(_View):
    """How far a job is, in its own unit; `share` is `done / total`, and 1 once it succeeded."""

    done: int
    total: int
    share: float
    phase: str
    eta_s: float | None


class Failure(_View):
    """Why a job failed and what to do about it."""

    title: str
    detail: str
    hint: str
    field: str | None = None
    """The parameter to change, where there is one."""
    choices: tuple[str, ...] = ()
    """What it may be, where the job found out; outside text."""


class Estimate(_View):
    """How long a job will take, as others of its kind took in this lab."""

    seconds: float
    jobs: int
    """How many earlier jobs say so."""
    device: str
    """What computed those; empty where it is not known."""
    reckoned: bool = False
    """Whether the earlier job had other settings, and the time follows from what its parts took."""


class JobView(_View):
    """A job as the API and the pages show it. Times are UTC."""

    id: str
    kind: JobKind
    status: JobStatus
    queue: Queue
    title: str
    """What it is called: by its user, else by what it does; outside text, to be escaped."""
    does: str = ""
    """What it does, in the lab's words, whatever it is called."""
    name: str = ""
    """What its user calls it; empty where nobody has named it."""
    note: str = ""
    tags: tuple[str, ...] = ()
    owner: str | None = None
    """The account that it belongs to; None where there is none."""
    archived_at: datetime | None = None
    pinned_at: datetime | None = None
    params: dict[str, Any]
    priority: Priority = Priority.NORMAL
    needs: Needs = Needs()
    """What a worker has to have to run it."""
    worker: str | None = None
    """The worker that runs it, or ran it last."""
    progress: Progress | None
    attempt: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    thinned_at: datetime | None = None
    """Since when only a part of what it reported is kept; None while all of it is."""
    expected_s: float | None = None
    """How long it was expected to take when it was submitted; None where nobody could know."""
    waiting_because: str | None
    """For a queued job: why it is not running yet; for a running one, that its worker is silent."""
    failure: Failure | None
    has_result: bool
    result_name: str = Field(default="", exclude=True)
    """What the files of its result are called; the lab's own affair."""
    parent: str | None = None
    """The ablation that this job is a part of."""
    children: int = 0
    """How many jobs an ablation has so far; evaluations come as trainings succeed."""


class Page(_View, Generic[T]):
    """One page of a list, newest first.

    `Page[JobView]` makes a class, which takes long, and not two threads at once: name it once,
    beside the functions that use it.
    """

    items: tuple[T, ...]
    total: int
    page: int
    page_size: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.page_size))


class DatasetView(_View):
    """A dataset that is ready to use."""

    id: str
    name: str
    note: str = ""
    tags: tuple[str, ...] = ()
    owner: str | None = None
    """The account that it belongs to; None where there is none."""
    source: str
    created_at: datetime
    archived_at: datetime | None = None
    job: str
    report: DatasetReport


class ModelView(_View):
    """A registered model."""

    id: str
    name: str
    note: str = ""
    tags: tuple[str, ...] = ()
    owner: str | None = None
    """The account that it belongs to; None where there is none."""
    created_at: datetime
    archived_at: datetime | None = None
    job: str | None
    sha256: str
    """Of its file."""
    size_bytes: int
    card: ModelCard


class QueueHealth(_View):
    queue: Queue
    waiting: int
    running: int
    workers: int
    drained: int = 0
    """Workers among these that take no new job."""


class Running(_View):
    """A job that a worker has."""

    job: str
    title: str
    """As `JobView.title`; outside text."""
    since: datetime


class WorkerView(_View):
    """A worker of the lab."""

    name: str
    """What its command calls it; outside text."""
    host: str
    """Empty where it does not say; likewise what follows."""
    device: str
    """What computes its jobs: `2 × NVIDIA H100`, `CPU (x86_64)`."""
    gpus: int
    room_mb: int | None
    """Memory of what computes, in units of 2^20 bytes: of the smallest GPU, or of the machine."""
    cores: int | None
    gflops: float | None
    """How fast it multiplies matrices in float32, in 10^9 operations a second; None before its
    first job."""
    version: str
    """Of its code."""
    differs: str
    """What follows where that is not the web's: a sentence; empty where it is."""
    queues: tuple[Queue, ...]
    runs: tuple[Running, ...]
    heard_at: datetime | None
    """When it last said that it is there; None where it has not lately."""
    silent: bool
    """Whether the process that runs its jobs hangs."""
    drained_at: datetime | None
    """Since when it takes no new job; None while it takes some."""
    drained_by: str
    """Who said so: the name of an account, or `owner`."""


class Workers(_View):
    """Who runs the lab's jobs."""

    broker: bool
    """Whether the broker answers, by which workers are known; without it only those are listed that
    have a job or are drained."""
    items: tuple[WorkerView, ...]
    """By name."""


class WebhookHealth(_View):
    """Whether the webhook takes what it is told; jobs go on without it."""

    host: str
    """Of its address, whose rest may be a password."""
    waiting: int
    """Jobs that ended and that it has still to hear of."""
    failure: str
    """Why the last news was not taken, as `answered 500 Internal Server Error`; empty when it
    was."""


class Health(_View):
    """Whether the lab's parts answer. `ok` when all do and each queue has a worker."""

    ok: bool
    version: str
    database: bool
    trouble: str | None = None
    """What the disk is short of, or why the database takes nothing: jobs wait for it."""
    broker: bool
    queues: tuple[QueueHealth, ...]
    webhook: WebhookHealth | None = None
    """None where none is set."""
    gaps: tuple[str, ...] = ()
    """What this system cannot keep from processes that read files from outside, in words."""
