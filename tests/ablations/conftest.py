"""A database of its own for each test, as tests of the store have."""

from __future__ import annotations

from tests.store.conftest import database

__all__ = ["database"]
