"""Where the real images are, and no time limits for generated examples."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of cifar10-mini.zip and cifar10-jpeg.tar.xz."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("LAB_TEST_DATA", default))
