"""Which jobs and which models a list shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.recipes import Recipe


class Shelf(StrEnum):
    """Where things are kept; each is on one of them."""

    LIST = "list"
    ARCHIVE = "archive"
    BIN = "bin"
    """Deleted; what is there for a week goes."""


class JobOrder(StrEnum):
    """What jobs can be sorted by."""

    NAME = "name"
    KIND = "kind"
    STATE = "state"
    DATASET = "dataset"
    RECIPE = "recipe"
    EPOCHS = "epochs"
    CLEAN = "clean"
    ROBUST = "robust"
    AUTOATTACK = "autoattack"
    TIME = "time"
    """How long it took."""
    CREATED = "created"


class ModelOrder(StrEnum):
    """What models can be sorted by."""

    NAME = "name"
    RECIPE = "recipe"
    DATASET = "dataset"
    EPOCHS = "epochs"
    HELD_CLEAN = "held_clean"
    """On held-out images; likewise `held_robust`, under PGD-10."""
    HELD_ROBUST = "held_robust"
    CLEAN = "clean"
    """On test images, in the latest evaluation; likewise the other two."""
    ROBUST = "robust"
    AUTOATTACK = "autoattack"
    TIME = "time"
    """What its training took."""
    CREATED = "created"


@dataclass(frozen=True)
class JobFilter:
    """What the jobs of a list have in common; by default all that are on the list itself."""

    text: str = ""
    """In the name, the title or the note, or at the start of the id."""
    kind: JobKind | None = None
    status: JobStatus | None = None
    tag: str = ""
    owner: str = ""
    """The name of the account that they belong to."""
    dataset: str = ""
    """The id of what they train on or measure with."""
    recipe: Recipe | None = None
    shelf: Shelf = Shelf.LIST
    order: JobOrder = JobOrder.CREATED
    falling: bool = True
    """Whether the largest come first; what has no value comes last in any case."""


@dataclass(frozen=True)
class ModelFilter:
    """What the models of a list have in common; by default all that are on the list itself."""

    text: str = ""
    """In the name or the note, or at the start of the id."""
    tag: str = ""
    owner: str = ""
    """The name of the account that they belong to."""
    dataset: str = ""
    """The checksum of what they were trained on."""
    recipe: Recipe | None = None
    shelf: Shelf = Shelf.LIST
    order: ModelOrder = ModelOrder.CREATED
    falling: bool = True
    """Whether the largest come first; what has no value comes last in any case."""
