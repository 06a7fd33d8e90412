"""Makes pictures and archives for the tests of the import."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from worker.data import Dataset, DatasetError, ImportReport, Wishes, import_archive, load_dataset
from worker.jobs.unpacking.unpacked import unpack

Files = dict[str, bytes]
KINDS = ("zip", "tar", "tar.gz", "tar.xz")
_TAR_MODES = {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}


def pixels(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(seed: int) -> bytes:
    return encode(pixels(seed))


def class_folders(
    prefix: str, counts: Mapping[str, int], *, first_seed: int = 0
) -> dict[str, bytes]:
    """`counts` random PNGs for each class, as prefix + class/number.png."""
    files = {}
    for name, count in counts.items():
        for number in range(count):
            files[f"{prefix}{name}/{number}.png"] = png(first_seed + len(files))
    return files


def train_and_test(prefix: str = "", **counts: int) -> dict[str, bytes]:
    """Class folders under train and test, two test images a class."""
    test = dict.fromkeys(counts, 2)
    return class_folders(f"{prefix}train/", counts) | class_folders(
        f"{prefix}test/", test, first_seed=10_000
    )


def pack(path: Path, files: Mapping[str, bytes], kind: str = "zip") -> Path:
    """Write an archive; a name that ends in a slash makes a folder."""
    path.parent.mkdir(exist_ok=True)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, _TAR_MODES[kind]) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def import_path(path: Path, folder: Path, **wishes: Any) -> tuple[ImportReport, Dataset]:
    return look(path, folder, **wishes), load_dataset(folder)


def look(path: Path, folder: Path, *, keep: bool = True, **wishes: Any) -> ImportReport:
    """Import, or only look."""
    return import_archive(
        path,
        folder,
        wishes=Wishes(**{"image_size": 32, **wishes}),
        label="Test",
        source=path.name,
        progress=lambda done, total: None,
        unpack=unpack,
        keep=keep,
    )


def import_files(
    tmp_path: Path, files: Mapping[str, bytes], kind: str = "zip", **wishes: Any
) -> tuple[ImportReport, Dataset]:
    return import_path(pack(tmp_path / "archive", files, kind), tmp_path / "dataset", **wishes)


def kinds(report: ImportReport) -> set[str]:
    """Of the warnings, without those that any small dataset has."""
    return {w.kind for w in report.warnings} - {"few_training", "few_test", "enlarged"}


def folders(prefix: str, count: int = 3, first: int = 0, names: str = "cat dog") -> Files:
    return class_folders(prefix, dict.fromkeys(names.split(), count), first_seed=first)


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    """Images to train on, to validate on by the archive's own part, and to test on."""
    held = dataset.arrays.get("train_held", np.zeros(len(dataset.arrays["train_labels"]), bool))
    return int((~held).sum()), int(held.sum()), len(dataset.arrays["test_labels"])


def refused(tmp_path: Path, files: Files, match: str, kind: str = "zip", **wishes: Any) -> None:
    tmp_path.mkdir(exist_ok=True)
    with pytest.raises(DatasetError, match=match):
        import_files(tmp_path, files, kind, **wishes)
    assert not (tmp_path / "dataset").exists()
