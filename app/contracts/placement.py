"""Who runs what: what jobs need, what workers offer, and which job comes first."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.contracts.jobs import Queue
from app.contracts.params import AblationParams, Device, EvaluateParams, Params, TrainParams
from app.contracts.params.base import printable
from app.contracts.words import memory

WORKER = r"^[A-Za-z0-9][A-Za-z0-9._@:-]{0,99}$"
"""How a worker may be called: `train@gpu-box`, the name that its command gives it."""

RECENT_S = {Queue.TRAIN: 24 * 3600.0, Queue.EVALUATE: 4 * 3600.0, Queue.LIVE: 600.0}
"""For how long work of a queue counts when the next job is chosen: a few of its longer jobs."""


class Priority(StrEnum):
    """Of the jobs that a worker may take, those of the highest priority come first."""

    LOW = "low"
    """Runs when nothing else of its queue waits."""
    NORMAL = "normal"
    HIGH = "high"
    """Only admins raise a job above the others."""

    @property
    def rank(self) -> int:
        """-1, 0 or 1."""
        return list(Priority).index(self) - 1

    @classmethod
    def of(cls, rank: int) -> Priority:
        return list(cls)[rank + 1]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Needs(_Fact):
    """What a worker has to have to run a job."""

    gpus: int = Field(0, ge=0)
    """0: any device will do."""
    memory_mb: int = Field(0, ge=0)
    """At least, of the GPU where the worker has one, else of its machine; in units of 2^20 bytes.
    0 where that cannot be told before."""
    release: int = Field(0, ge=0, exclude=True)
    """Of the code that wrote the job (`app.settings.RELEASE`): older code may not know what it
    asks for."""

    @property
    def device(self) -> Device:
        """The short of it, by which waiting jobs are counted and workers are woken."""
        return Device.GPU if self.gpus else Device.ANY


_Said = Annotated[str, StringConstraints(max_length=100), AfterValidator(printable)]


class OfferedGpu(_Fact):
    """A GPU that a worker may use."""

    name: _Said
    memory_mb: int | None
    """None where the driver does not say."""


class Offer(_Fact):
    """What a worker says of itself."""

    name: str = Field(pattern=WORKER)
    """Of its own among the workers of a lab."""
    host: _Said = ""
    machine: _Said = ""
    """The kind of its processor, such as `x86_64`."""
    cores: int = Field(1, ge=1)
    """Those that it may use."""
    memory_mb: int | None = None
    """Of the machine, or what its container may use; None where the system does not say."""
    gpus: tuple[OfferedGpu, ...] = ()
    version: _Said = ""
    """Of its code, with the commit."""
    release: int = 0
    """The same as a number that grows (`app.settings.RELEASE`)."""
    gflops: float | None = Field(None, ge=0, allow_inf_nan=False)
    """How fast it multiplies matrices in float32, in 10^9 operations a second: measured after its
    first job, None before."""

    @property
    def device(self) -> str:
        """What computes its jobs: `2 × NVIDIA H100`, `CPU (x86_64)`."""
        if not self.gpus:
            return f"CPU ({self.machine})" if self.machine else "CPU"
        count = f"{len(self.gpus)} × " if len(self.gpus) > 1 else ""
        return f"{count}{self.gpus[0].name}"

    @property
    def room_mb(self) -> int | None:
        """The memory of what computes: of the smallest GPU, or of the machine; None where nobody
        knows."""
        told = [gpu.memory_mb for gpu in self.gpus] if self.gpus else [self.memory_mb]
        return min((room for room in told if room is not None), default=None)


def needs_of(params: Params) -> Needs:
    """What the parameters of a job say that it needs."""
    match params:
        case AblationParams():
            return needs_of(params.training)
        case TrainParams(device=Device.GPU):
            return Needs(gpus=params.processes)
        case EvaluateParams(device=Device.GPU):
            return Needs(gpus=1)
    return Needs()


def lacking(needs: Needs, offers: Sequence[Offer]) -> str:
    """Why none of these workers can run a job, in a sentence; empty where one can, or where there
    is no worker at all."""
    if not offers:
        return ""
    able = [offer for offer in offers if offer.release >= needs.release]
    if not able:
        return "It was submitted or begun by a newer version of the lab than that of the workers."
    most = max(len(offer.gpus) for offer in able)
    able = [offer for offer in able if len(offer.gpus) >= needs.gpus]
    if not able:
        what = "a GPU" if needs.gpus == 1 else f"{needs.gpus} GPUs in one worker"
        here = f"the most that one has is {most}" if most else "none is here"
        return f"It needs {what}: {here}."
    rooms = [offer.room_mb for offer in able]
    if any(room is None or room >= needs.memory_mb for room in rooms):
        return ""
    largest = max(room for room in rooms if room is not None)
    wants, has = memory(needs.memory_mb), memory(largest)
    return f"It needs {wants} of memory: the most that a worker for it has is {has}."


def able(needs: Needs, offers: Sequence[Offer]) -> list[Offer]:
    """Those of the workers that can run a job."""
    return [offer for offer in offers if not lacking(needs, [offer])]


def read_offer(text: Any) -> Offer | None:
    """What a worker announced; None where it is nothing that this version understands."""
    try:
        return Offer.model_validate_json(text)
    except ValueError:
        return None
