"""What routes ask for: the opened lab of this process."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from app.services.lab import Lab


def _lab(connection: HTTPConnection) -> Lab:
    lab = connection.app.state.lab
    assert isinstance(lab, Lab)
    return lab


LabDep = Annotated[Lab, Depends(_lab)]
