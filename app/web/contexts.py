"""What each template is given: one frozen dataclass a template, every field documented.

A test checks that a template uses exactly the fields of its context. Beside them a template sees
`shell` (`app.web.render.Shell`) and the filters of `app.web.words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


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
