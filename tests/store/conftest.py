"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.store.db import Database


@pytest.fixture
def database(fresh_url: Callable[[], str]) -> Iterator[Database]:
    opened = Database(fresh_url())
    yield opened
    opened.close()
