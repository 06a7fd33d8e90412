"""What a running job reports. Events are rows in SQL, numbered within their job, never changed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.contracts.jobs import JobStatus
from app.contracts.results import ExplainResult


class LogLevel(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StateEvent(_Event):
    """The job entered a state."""

    type: Literal["state"] = "state"
    status: JobStatus
    attempt: int = 0


class ProgressEvent(_Event):
    """How far the job is, in its own unit."""

    type: Literal["progress"] = "progress"
    done: int = Field(ge=0)
    total: int = Field(ge=1)
    phase: str
    """What is being done now, for example `epoch 2 of 6`."""
    eta_s: float | None = None
    """Estimated seconds left; None while there is nothing to base it on."""


class MetricsEvent(_Event):
    """A point of the job's charts; `step` is the horizontal axis of `series`.

    `estimate`: what an evaluation knows after `step` images: `<model>:clean`, `<model>:robust`, and
    the bounds of the latter's 95 % interval, `<model>:low` and `<model>:high`. While some of these
    images have not met all attacks the robust figure is preliminary, and can only fall:
    `<model>:attacks_left` says how many have yet to run, 0 where none has.

    After a lost worker a training goes on from its last checkpoint, and reports the steps after it
    again: of two points at one step, the later counts.
    """

    type: Literal["metrics"] = "metrics"
    series: Literal["step", "epoch", "curve", "estimate"]
    step: int = Field(ge=0)
    values: dict[str, float]


class LogEvent(_Event):
    """A line for people."""

    type: Literal["log"] = "log"
    level: LogLevel = LogLevel.INFO
    text: str = Field(max_length=2000)


class PreviewEvent(_Event):
    """The first part of a live attack, to look at while the rest is computed: the last iterates at
    one budget. The job's end takes it away, since the result has all of it."""

    type: Literal["preview"] = "preview"
    result: ExplainResult


Event = Annotated[
    StateEvent | ProgressEvent | MetricsEvent | LogEvent | PreviewEvent,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
