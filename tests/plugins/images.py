"""Where the tests find real images: `LAB_TEST_DATA`, else `shared/data` beside the checkout."""

import os
import zipfile
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("LAB_TEST_DATA", _BESIDE))
MINI = FOLDER / "cifar10-mini.zip"
"""CIFAR-10 stored as JPEG: 100 training and 50 test images a class."""
FULL = FOLDER / "cifar10-jpeg.tar.xz"
"""The same with 5,000 and 800 a class."""


def few(archive: Path) -> Path:
    """The first of `MINI`'s images as an archive: 30 of a class to train on, 10 to test on."""
    with zipfile.ZipFile(MINI) as whole, zipfile.ZipFile(archive, "w") as made:
        for name in whole.namelist():
            part, _, file = name.split("/")[-3:] if name.endswith(".jpg") else ("", "", "")
            if part and int(Path(file).stem) < {"train": 30, "test": 10}[part]:
                made.writestr(name, whole.read(name))
    return archive
