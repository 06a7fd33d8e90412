"""What the contexts of the templates are made of."""

from __future__ import annotations

from dataclasses import dataclass

from app.contracts.views import JobView, Page
from app.web.pages.evaluation_view import EvaluationView, Subject


@dataclass(frozen=True)
class Step:
    """One of a newcomer's first steps."""

    title: str
    help: str
    done: bool
    now: bool
    """Whether this is the next one to take."""
    href: str
    """Where it is taken; empty for what a form on the spot does."""
    action: str
    """What the link or the button says."""


@dataclass(frozen=True)
class Filter:
    """One choice of the list's filters."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True)
class JobList:
    """A page of jobs, its filters and neighbours."""

    page: Page[JobView]
    kinds: tuple[Filter, ...]
    statuses: tuple[Filter, ...]
    address: str
    """Where this very list is fetched anew."""
    newer: str
    """Address of the page before; empty on the first."""
    older: str
    """Address of the page after; empty on the last."""
    filtered: bool
    """Whether only some kind or state was asked for."""
    unfinished: bool
    """Whether a job in the list still changes."""


@dataclass(frozen=True)
class Download:
    """A dataset that torchvision fetches."""

    source: str
    label: str


@dataclass(frozen=True)
class Measured:
    """One model in one finished evaluation."""

    job: JobView
    view: EvaluationView
    subject: Subject


@dataclass(frozen=True)
class SampleSet:
    """Test images of one dataset, one a class."""

    dataset: str
    name: str
    """Outside text."""
    classes_number: int
    """Among the lists of classes in the page's settings."""
    images: tuple[tuple[str, str], ...]
    """Class (outside text) and address of each image."""


@dataclass(frozen=True)
class Example:
    """A photograph of free licence, to try the live page with."""

    title: str
    address: str
    label: str
    """Its class, where the shipped models know it."""
    author: str
    source: str
    """Address of the original."""
    licence: str


@dataclass(frozen=True)
class EvaluationChoice:
    """A finished evaluation that may be compared."""

    job: JobView
    chosen: bool
    dataset: str
    """Its name; outside text."""
    models: int
    images: int
    """How many were asked for."""
    how: str
    """Threat model and attacks."""
