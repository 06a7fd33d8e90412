"""Pages need neither a worker nor a broker: here nobody listens where the broker should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:1/0", lease_s=1000)
