"""Where the tests find real images: `LAB_TEST_DATA`, else `shared/data` beside the checkout."""

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("LAB_TEST_DATA", _BESIDE))
MINI = FOLDER / "cifar10-mini.zip"
"""CIFAR-10 stored as JPEG: 100 training and 50 test images a class."""
FULL = FOLDER / "cifar10-jpeg.tar.xz"
"""The same with 5,000 and 800 a class."""
