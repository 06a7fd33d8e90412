"""What pages take from outside, checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from starlette.datastructures import FormData

IdPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]


async def _posted(request: Request) -> AsyncIterator[FormData]:
    async with request.form(max_files=1, max_fields=200) as form:
        yield form


Posted = Annotated[FormData, Depends(_posted)]
"""A posted form; its entries are strings, and files where the form has some."""
