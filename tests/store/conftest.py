"""A database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store.db import Database
from tests.plugins import migrated


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(migrated.lay_out(tmp_path))
    yield opened
    opened.close()
