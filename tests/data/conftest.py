"""Where the real images are, and no time limits for generated examples."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.plugins.images import FOLDER

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of cifar10-mini.zip and cifar10-jpeg.tar.xz."""
    return FOLDER
