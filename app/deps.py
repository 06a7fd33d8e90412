"""What routes ask for: the opened lab of this process, and its bell."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.bell import Bell
from app.services.lab import Lab


def _lab(request: Request) -> Lab:
    lab = request.app.state.lab
    assert isinstance(lab, Lab)
    return lab


def _bell(request: Request) -> Bell:
    bell = request.app.state.bell
    assert isinstance(bell, Bell)
    return bell


LabDep = Annotated[Lab, Depends(_lab)]
BellDep = Annotated[Bell, Depends(_bell)]
