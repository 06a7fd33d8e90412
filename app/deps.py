"""What routes of pages and of the API ask for: this process's lab and bell, ids, page numbers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query
from starlette.requests import Request

from app.admission.throttle import Rate
from app.bell import Bell
from app.contracts.accounts import Share, Shares
from app.services import accounts, usage
from app.services.lab import Lab
from app.store.db import Database

IdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="32 hexadecimal digits")]
NamePath = Annotated[str, Path(max_length=accounts.LONGEST_NAME, pattern=f"^{accounts.NAME}$")]
"""Of an account."""
RecordNumber = Annotated[
    int | None, Query(ge=1, le=2**53 - 1, description="Records before this one")
]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000, description="From 1")]


def _lab(request: Request) -> Lab:
    lab = request.app.state.lab
    assert isinstance(lab, Lab)
    return lab


def _bell(request: Request) -> Bell:
    bell = request.app.state.bell
    assert isinstance(bell, Bell)
    return bell


def shares_of(request: Request, user_id: str) -> Shares:
    """What an account uses of the lab now."""
    lab, bell, rate = _lab(request), _bell(request), request.app.state.rate
    assert isinstance(rate, Rate)
    streams = bell.places_of(user_id)
    return Shares(
        requests=Share(used=rate.used(user_id), most=rate.most, setting="LAB_USER_REQUESTS"),
        jobs=usage.waiting(lab, user_id),
        streams=Share(used=streams, most=lab.settings.user_streams, setting="LAB_USER_STREAMS"),
        disk=usage.disk(lab, user_id),
    )


def _database(request: Request) -> Database:
    return _lab(request).database


LabDep = Annotated[Lab, Depends(_lab)]
DatabaseDep = Annotated[Database, Depends(_database)]
"""For services that commands without a lab use, too."""
BellDep = Annotated[Bell, Depends(_bell)]
