"""What each template is given: one frozen dataclass a template, every field documented.

A test checks that a template uses exactly the fields of its context. Beside them a template sees
`shell` (`app.web.render.Shell`) and the filters of `app.web.words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from app.contracts.views import JobView
from app.web.forms import FormView


@dataclass(frozen=True)
class Context:
    """The base of all contexts."""

    template: ClassVar[str]
    """The file in `templates/`."""


@dataclass(frozen=True)
class ErrorContext(Context):
    """An error that ends a request outside /api."""

    template: ClassVar[str] = "error.html"

    status: int
    """The HTTP status."""
    title: str
    """The kind of error, in a few words."""
    detail: str
    """What happened; may quote outside text."""
    hint: str
    """What to do about it; empty where there is nothing to say."""


@dataclass(frozen=True)
class TrainContext(Context):
    """The form of a new training job."""

    template: ClassVar[str] = "train.html"

    form: FormView
    """Made from `TrainParams`."""
    has_dataset: bool
    """Whether there is anything to train on."""
    again: JobView | None
    """The job whose parameters fill the form."""


@dataclass(frozen=True)
class EvaluateContext(Context):
    """The form of a new evaluation job."""

    template: ClassVar[str] = "evaluate.html"

    form: FormView
    """Made from `EvaluateParams`."""
    has_model: bool
    """Whether there is anything to evaluate."""
    again: JobView | None
    """The job whose parameters fill the form."""
