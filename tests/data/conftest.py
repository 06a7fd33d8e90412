"""Where the real images are."""

from pathlib import Path

import pytest

from tests.plugins.images import FOLDER


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of cifar10-mini.zip and cifar10-jpeg.tar.xz."""
    return FOLDER
