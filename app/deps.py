"""What routes of pages and of the API ask for: this process's lab and bell, ids, page numbers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query
from starlette.requests import Request

from app.bell import Bell
from app.services.lab import Lab

IdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="32 hexadecimal digits")]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="From 1")]


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
