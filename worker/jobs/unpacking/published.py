"""Datasets as their authors publish them: CIFAR, STL-10, SVHN, MNIST and its kin."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.jobs import pickled
from worker.jobs.unpacking import matlab
from worker.jobs.unpacking.found import TEST, TRAIN, Files, Refused, Unpacked


def _pickled(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            found = pickled.load(file)
    except pickled.NotPlain as other:
        raise Refused(
            f"The file holds more than images ({other}); reading that would run its code, which "
            "the lab never does.",
            "Upload the archive as it is published, or class folders.",
        ) from None
    if not isinstance(found, dict):
        raise Refused("The pickle holds no dictionary.", "Upload the archive as it is published.")
    return {key.decode() if isinstance(key, bytes) else str(key): v for key, v in found.items()}


def _of_one_dataset(files: Files) -> Files:
    """Files of CIFAR in their order. Raises Refused where they are not of one dataset alone."""
    counts = Counter(name for name, *_ in files)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise Refused(f"Several files are called {twice[0]}.", "Pack one dataset alone.")
    if len({_is_of_cifar_100(name) for name in counts}) > 1:
        raise Refused("The archive holds CIFAR-10 and CIFAR-100.", "Pack one of them.")
    return sorted(files)


def _is_of_cifar_100(name: str) -> bool:
    return name.removesuffix(".bin") in ("train", "test", "meta")


def cifar(files: Files) -> Unpacked:
    """CIFAR-10 and CIFAR-100 for Python (Krizhevsky, 2009)."""
    import numpy as np

    pixels, labels, parts = [], [], []
    classes: Sequence[str] | None = None
    for name, _, path in _of_one_dataset(files):
        page = _pickled(path)
        listed = page.get("label_names", page.get("fine_label_names"))
        if listed is not None:
            classes = [n.decode() if isinstance(n, bytes) else str(n) for n in listed]
        if "data" not in page:
            continue
        own = page.get("fine_labels", page.get("labels"))
        data = np.asarray(page["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        if own is None or len(own) != len(data):
            raise Refused(f"{name} has no labels.", "Upload the archive as it is published.")
        pixels.append(data.transpose(0, 2, 3, 1))
        labels += [int(label) for label in own]
        parts += [TEST if "test" in name else TRAIN] * len(data)
    if not pixels:
        raise Refused("The archive holds no batches.", "Upload it as it is published.")
    return Unpacked("CIFAR for Python", labels, parts, classes, np.concatenate(pixels))


def cifar_binary(files: Files) -> Unpacked:
    """CIFAR-10 and CIFAR-100 for C (Krizhevsky, 2009): one or two labels, then 3 x 32 x 32 bytes.

    Of CIFAR-100's two labels the second, which is the finer one.
    """
    import numpy as np

    pixels, labels, parts = [], [], []
    for name, _, path in _of_one_dataset(files):
        before = 2 if _is_of_cifar_100(name) else 1
        data = np.fromfile(path, dtype=np.uint8)
        if not len(data) or len(data) % (before + 3072):
            raise Refused(
                f"{name} is cut short: its last image is not whole.",
                "Upload it as it is published.",
            )
        rows = data.reshape(-1, before + 3072)
        pixels.append(rows[:, before:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(rows[:, before - 1].astype(np.int64))
        parts += [TEST if "test" in name else TRAIN] * len(rows)
    return Unpacked("CIFAR in binary", np.concatenate(labels), parts, None, np.concatenate(pixels))


def stl(files: Files) -> Unpacked:
    """STL-10 (Coates et al., 2011): columns before rows, and classes from 1."""
    import numpy as np

    found = {name: np.fromfile(path, dtype=np.uint8) for name, _, path in files}
    if len(found) < len(files):
        raise Refused("Several files have one name.", "Upload them as they are published.")
    pixels, labels, parts = [], [], []
    for said, part in (("train", TRAIN), ("test", TEST)):
        x, y = found.get(f"{said}_X.bin"), found.get(f"{said}_y.bin")
        if x is None:
            continue
        if y is None or len(x) != len(y) * 3 * 96 * 96 or not len(y) or y.min() < 1:
            raise Refused(
                f"{said}_X.bin and {said}_y.bin do not belong together.",
                "Upload them as they are published.",
            )
        pixels.append(x.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1))
        labels.append(y.astype(np.int64) - 1)
        parts += [part] * len(y)
    return Unpacked("STL-10 in binary", np.concatenate(labels), parts, None, np.concatenate(pixels))


def svhn(files: Files) -> Unpacked:
    """Cropped digits of SVHN (Netzer et al., 2011), where the label 10 stands for 0."""
    import numpy as np

    pixels, labels, parts, left = [], [], [], Counter[str]()
    for name, part, path in sorted(files):
        if "extra" in name.lower():
            left["files of extra training images, which are not the usual training set"] += 1
            continue
        page = matlab.arrays(path.read_bytes(), ("X", "y"))
        x, y = page["X"], page["y"].ravel().astype(np.int64)
        if x.ndim != 4 or x.dtype != np.uint8 or x.shape[2] != 3 or x.shape[3] != len(y):
            raise Refused(
                f"{name} does not hold what SVHN's files hold.", "Upload them as they are."
            )
        pixels.append(x.transpose(3, 0, 1, 2))
        labels.append(np.where(y == 10, 0, y))
        parts += [part] * len(y)
    if not pixels:
        raise Refused("There is no train_32x32.mat or test_32x32.mat.", "Add one of them.")
    names = [str(digit) for digit in range(10)]
    found = Unpacked("SVHN", np.concatenate(labels), parts, names, np.concatenate(pixels))
    found.left_out = dict(left)
    return found


_EMNIST = re.compile(r"(?<![a-z])emnist", re.IGNORECASE)
_ON_THEIR_SIDE = (
    "EMNIST's files have the rows and columns of its pictures exchanged: letters lie on their "
    "side, mirrored. They are taken as they are, as torchvision does; a model of upright letters "
    "needs them turned before they are packed."
)


def idx(files: Files) -> Unpacked:
    """Pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte (LeCun et al., 1998)."""
    import numpy as np

    arrays: dict[str, Any] = {}
    part_of: dict[str, int] = {}
    for name, part, path in sorted(files):
        if name in arrays:
            raise Refused(
                f"Several files are called {name}.", "Name them as MNIST does: train-… and t10k-… ."
            )
        data = path.read_bytes()
        packed = data[:2] == b"\x1f\x8b"
        arrays[name] = _idx_array(gzip.decompress(data) if packed else data)
        part_of[name] = TEST if name.startswith("t10k") else part
    pixels, labels, parts = [], [], []
    taken: dict[int, str] = {}
    for name, images in arrays.items():
        own = arrays.get(name.replace("images", "labels").replace("idx3", "idx1"))
        if images.ndim != 3 or own is None or own.ndim != 1 or len(own) != len(images):
            continue
        other = taken.setdefault(part_of[name], name)
        if other != name:
            raise Refused(
                f"{other} and {name} are images of one part: several datasets are packed together.",
                "Pack the files of one of them.",
            )
        pixels.append(np.repeat(images[..., None], 3, axis=-1))
        labels.append(own.astype(np.int64))
        parts += [part_of[name]] * len(own)
    if not pixels:
        raise Refused("No file of images has one of labels beside it.", "Upload both of them.")
    found = Unpacked("MNIST's idx", np.concatenate(labels), parts, None, np.concatenate(pixels))
    if any(_EMNIST.search(name) for name in taken.values()):
        found.warnings.append(_ON_THEIR_SIDE)
    return found


def _idx_array(data: bytes) -> Any:
    import numpy as np

    if data[:3] != b"\0\0\x08":
        raise Refused("A file is no idx of bytes.", "Upload the files as they are published.")
    dimensions = data[3]
    shape = [int.from_bytes(data[4 + 4 * d : 8 + 4 * d], "big") for d in range(dimensions)]
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
