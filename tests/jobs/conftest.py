"""One lab with real images and two models for all tests that only add jobs to it."""

from __future__ import annotations

import pytest

from tests.jobs.measured import Measured, open_measured


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return open_measured(tmp_path_factory.mktemp("measured"))
