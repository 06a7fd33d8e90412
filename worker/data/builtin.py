"""Well-known datasets, downloaded by torchvision.

It is imported by what needs it: it takes as long as torch itself, and 200 MB.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.data.errors import DatasetError
from worker.data.store_format import (
    Dataset,
    Progress,
    partial_folder,
    remove_partial,
    write_dataset,
)

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

STALLED = 25.0  # seconds without a byte before a download is given up
_TIMEOUT = 10.0  # seconds for one answer of the server
_POLL = 0.25  # seconds between two looks at a download


class Part(NamedTuple):
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class _Builtin:
    label: str
    source: str
    size: int  # bytes of the download, about
    fetch: Callable[[Path], tuple[Sequence[str], Part, Part]]


def import_torchvision(name: str, folder: Path, *, progress: Progress) -> Dataset:
    """Download a dataset through torchvision, which checks it, and store it.

    Args:
        name: `cifar10`, `cifar100` or `svhn`.
        folder: the dataset to write; does not exist yet, and does not afterwards if this raises.
        progress: called with bytes done and bytes in all, about; what it raises ends the import.

    Raises:
        DatasetError: the download does not arrive, or not whole.
        FileExistsError: `folder` exists.
        ValueError: there is no dataset of that name.
    """
    if name not in _BUILTINS:
        raise ValueError(f"expected one of {', '.join(_BUILTINS)}, got {name!r}")
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    remove_partial(folder)
    builtin = _BUILTINS[name]
    scratch = partial_folder(folder)
    try:
        class_names, train, test = _watched(builtin, scratch, progress)
    finally:
        # A download that was given up may still write there.
        shutil.rmtree(scratch, ignore_errors=True)
    return write_dataset(
        folder,
        class_names=class_names,
        train_images=train.images,
        train_labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
        label=builtin.label,
        source=builtin.source,
        notes={"remarks": []},
    )


def _watched(
    builtin: _Builtin, scratch: Path, progress: Progress
) -> tuple[Sequence[str], Part, Part]:
    """Fetch in a thread, to report how much has arrived and to give up when no more does.

    torchvision offers neither; and a name server that is silent heeds no timeout.
    """
    outcome: list[tuple[Sequence[str], Part, Part] | BaseException] = []

    def fetch() -> None:
        try:
            outcome.append(builtin.fetch(scratch))
        except BaseException as error:
            outcome.append(error)

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        quiet, seen = 0.0, 0
        is_on = True
        while is_on and quiet < STALLED:
            thread.join(_POLL)
            is_on = thread.is_alive()
            arrived = sum(file.stat().st_size for file in scratch.rglob("*") if file.is_file())
            quiet = 0.0 if arrived > seen or arrived >= builtin.size else quiet + _POLL
            seen = arrived
            progress(min(arrived, builtin.size), builtin.size)
    finally:
        socket.setdefaulttimeout(before)
    error = outcome[0] if outcome else TimeoutError("no answer")
    if isinstance(error, BaseException):
        raise DatasetError(
            f"{builtin.label} could not be downloaded: {error}.",
            "Connect this machine to the network, or import the dataset as an archive of class "
            "folders.",
        ) from error
    return error


def _fetch_cifar10(root: Path) -> tuple[Sequence[str], Part, Part]:
    from torchvision.datasets import CIFAR10

    return _fetch_cifar(CIFAR10, root)


def _fetch_cifar100(root: Path) -> tuple[Sequence[str], Part, Part]:
    from torchvision.datasets import CIFAR100

    return _fetch_cifar(CIFAR100, root)


def _fetch_cifar(dataset: type[CIFAR10], root: Path) -> tuple[Sequence[str], Part, Part]:
    train, test = (dataset(root, train=part, download=True) for part in (True, False))
    return train.classes, _cifar_part(train), _cifar_part(test)


def _cifar_part(dataset: CIFAR10) -> Part:
    return Part(np.ascontiguousarray(dataset.data), np.array(dataset.targets, dtype=np.int64))


def _fetch_svhn(root: Path) -> tuple[Sequence[str], Part, Part]:
    from torchvision.datasets import SVHN

    # SciPy, which reads the files, can crash on damaged ones; torchvision compares checksums first.
    parts = [SVHN(root, split=name, download=True) for name in ("train", "test")]
    train, test = (
        Part(np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)), part.labels) for part in parts
    )
    return [str(digit) for digit in range(10)], train, test


_BUILTINS = {
    "cifar10": _Builtin(
        "CIFAR-10", "Krizhevsky, 2009, by torchvision", 170_498_071, _fetch_cifar10
    ),
    "cifar100": _Builtin(
        "CIFAR-100", "Krizhevsky, 2009, by torchvision", 169_001_437, _fetch_cifar100
    ),
    "svhn": _Builtin(
        "SVHN", "Netzer et al., 2011, by torchvision", 182_040_794 + 64_275_384, _fetch_svhn
    ),
}
