"""Files that hold many images: those of CIFAR, STL-10, SVHN and MNIST, of NumPy, and Parquet.

They are read by a process that can do little else (`worker.jobs.unpacking`), which leaves plain
arrays; what these say is checked here, since that process had hostile bytes in its hands.

    labels.npy (N,) int64        parts.npy (N,) uint8, by `PARTS`
    pixels.npy (N, H, W, 3) uint8, or else files.bin and ends.npy (N,) int64: pictures end to end
    about.json: classes (a list of names, or null), ordered (whether that order is the source's
    own), turned (whether pixels were blue, green, red and have been turned; null where they are
    grey, or their order is known), kind, notes, warnings, left_out
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.data.classes import in_order, name_numbers
from worker.data.colour_order import declared_bgr, doubts_of_arrays
from worker.data.errors import DatasetError
from worker.data.layout import MAX_CLASSES, Contents, Found, Sample, has_suffix
from worker.data.members import Archive, Member
from worker.data.names import Path as ArchivePath
from worker.data.names import name_list, printable
from worker.data.one_dataset import check_one_dataset
from worker.data.roles import Part, named_part, own_words
from worker.data.weaknesses import Weakness

PARTS: tuple[Part | None, ...] = (None, *Part)
MOST_FILES = 1000
_CIFAR = re.compile(r"data_batch_\d+|test_batch|batches\.meta|train|test|meta")
_CIFAR_BINARY = re.compile(r"data_batch_\d+\.bin|test_batch\.bin|train\.bin|test\.bin")
_STL = re.compile(r"(train|test)_[Xy]\.bin")
_KINDS: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "svhn": ("_32x32.mat",),
    "idx": ("-ubyte", ".ubyte", "-ubyte.gz"),
    "npz": (".npz",),
    "npy": (".npy",),
}
_TAIL = re.compile(
    r"([-_.](images|labels))?([-.]idx\d)?[-.]ubyte(\.gz)?$|(-\d+-of-\d+[^.-]*(-[^.-]*)?)?\.\w+$"
)
"""What follows the part in a file's name: `-images-idx3-ubyte.gz`, `-00000-of-00002.parquet`."""
Unpack = Callable[[str, Sequence[tuple[str, int, Path]], Path], None]
"""Read files of a kind, with their names and their parts as `PARTS` numbers them, into a folder."""
Source = Callable[[Mapping[int, int]], Iterable[tuple[int, bytes | NDArray[np.uint8] | str]]]
"""Pictures by their ordinals, as files or as pixels, or why there are none."""


@contextmanager
def open_containers(
    archive: Archive,
    contents: Contents,
    scratch: Path,
    unpack: Unpack | None,
    check_room: Callable[[int], None],
) -> Iterator[tuple[Found, Source] | None]:
    """The images in files that hold many, and a way to them; None where there are no such files.

    Args:
        scratch: where they may lie meanwhile; nothing stays.
        check_room: called with the number of images before they are listed; what it raises ends it.

    Raises:
        DatasetError: they cannot be read; says why.
    """
    kind, members = _containers(contents)
    if not members:
        yield None
        return
    if unpack is None:
        raise DatasetError("Files of many images are not read here.", "Pack class folders.")
    if len(members) > MOST_FILES:
        raise DatasetError(
            f"The archive has {len(members):,} files of many images.",
            f"Pack at most {MOST_FILES:,}: join shards to larger ones, or take fewer.",
        )
    if kind != "pixels":  # of tables only some may have pictures
        by_name = kind in ("parquet", "idx")
        check_one_dataset(
            (m.path[:-1], _TAIL.sub("", m.path[-1]) if by_name else "") for m in members
        )
    folder = Path(tempfile.mkdtemp(prefix=".unpacking.", suffix=".partial", dir=scratch))
    try:
        files = {m.ordinal: folder / f"{number}.source" for number, m in enumerate(members)}
        archive.copy(files)
        target = folder / "unpacked"
        target.mkdir()
        told = [
            (printable(m.path[-1]), PARTS.index(_part_of(m.path)), files[m.ordinal])
            for m in members
        ]
        unpack(kind, told, target)
        found, read = _opened(target, contents, check_room)
        found.used |= {member.path for member in members}
        if kind == "parquet":  # of arrays, names say which belong together
            found.warnings += _doubts_of_names(members, len(found.samples))
        name_numbers(found, contents.texts)
        yield found, read
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _doubts_of_names(members: Sequence[Member], images: int) -> list[Weakness]:
    """Files that no part tells apart may be numbered, or of datasets that have nothing to do with
    each other: their names do not show which."""
    stems = [_TAIL.sub("", member.path[-1]) for member in members]
    called = {own_words(stem): printable(stem) for stem in stems if named_part(stem) is None}
    if len(called) < 2:
        return []
    text = (
        "Files that are called differently are read as one dataset, and their labels as of the "
        f"same classes: {name_list(sorted(called.values()))}."
    )
    return [Weakness("labels_guessed", text, images)]


def _containers(contents: Contents) -> tuple[str, list[Member]]:
    """Files of one kind, where they are what the archive is about."""
    others = contents.others
    names = {member.path[-1] for member in others}
    if "test_batch" in names or {"train", "test", "meta"} <= names:
        return "cifar", [member for member in others if _CIFAR.fullmatch(member.path[-1])]
    if "test_batch.bin" in names or {"train.bin", "test.bin"} <= names:
        return "cifar_binary", [m for m in others if _CIFAR_BINARY.fullmatch(m.path[-1])]
    if names & {"train_X.bin", "test_X.bin"}:
        return "stl", [member for member in others if _STL.fullmatch(member.path[-1])]
    for kind, suffixes in _KINDS.items():
        found = [member for member in others if has_suffix(member, suffixes)]
        if found and len(contents.pictures) < len(found):
            return kind, found
    tables = [member for member in others if has_suffix(member, (".csv",))]
    if tables and not contents.pictures and all(m in tables or _is_beside(m) for m in others):
        return "pixels", tables
    return "", []


def _is_beside(member: Member) -> bool:
    """Whether a file may lie beside tables that are the dataset."""
    name = member.path[-1].lower()
    return name.endswith((".txt", ".md", ".json")) or name.startswith(("readme", "license"))


def _part_of(path: ArchivePath) -> Part | None:
    """By the name of a file, or else of the folders that it lies in, from the innermost out."""
    said = (_TAIL.sub("", path[-1]), *reversed(path[:-1]))
    return next((part for name in said if (part := named_part(name)) is not None), None)


def _opened(
    folder: Path, contents: Contents, check_room: Callable[[int], None]
) -> tuple[Found, Source]:
    """What was unpacked. Raises DatasetError where it is not what it has to be."""
    try:
        about: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        labels = _array(folder / "labels.npy", np.int64, 1)
        check_room(len(labels))
        parts = _array(folder / "parts.npy", np.uint8, 1)
        bgr = declared_bgr(contents) if about["turned"] is False else ""
        read = _reader(folder, len(labels), turn=bool(bgr))
        if len(parts) != len(labels) or (len(parts) and parts.max() >= len(PARTS)):
            raise ValueError("parts")
        names = _names(about["classes"], labels)
        unused = [n for k, n in enumerate(names) if about["classes"] and k not in labels]
        found = Found(
            kind=str(about["kind"]),
            samples=[
                Sample(row, f"image {row}", names[label], PARTS[part])
                for row, (label, part) in enumerate(
                    zip(labels.tolist(), parts.tolist(), strict=True)
                )
            ],
            notes=[str(note) for note in about["notes"]],
            warnings=[Weakness("unpacked", str(text)) for text in about["warnings"]],
            left_out=Counter({str(k): int(n) for k, n in about["left_out"].items()}),
        )
        if bgr:
            found.notes.append(f"Images are turned from blue, green, red, as {bgr} says.")
        elif about["turned"] is False:
            found.notes.append("Colours of arrays are taken as red, green, blue.")
            found.warnings += doubts_of_arrays(contents)
        if unused:
            text = f"Classes that are named and have no image are left out: {name_list(unused)}."
            found.warnings.append(Weakness("classes_without_images", text, len(unused)))
        if about["ordered"]:
            found.order = in_order(names, {sample.class_name for sample in found.samples})
    except DatasetError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"The file's images could not be taken ({error}).", "Import them as class folders."
        ) from error
    return found, read


def _array(path: Path, kind: type[np.generic], dimensions: int) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != kind or array.ndim != dimensions:
        raise ValueError(f"{path.name} is {array.dtype} {array.shape}")
    return array


def _names(listed: Sequence[Any] | None, labels: NDArray[np.int64]) -> list[str]:
    """The names of classes by number."""
    if not len(labels) or labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise ValueError(f"labels are to lie in 0..{MAX_CLASSES - 1}")
    most = int(labels.max())
    names = [str(n) for n in range(most + 1)] if listed is None else [str(name) for name in listed]
    if len(names) <= most or len({*names}) < len(names):
        raise ValueError("names of classes do not fit the labels")
    return names


def _reader(folder: Path, count: int, *, turn: bool) -> Source:
    """Of the pictures that were unpacked; `turn` says to exchange red and blue of pixels."""
    if (folder / "pixels.npy").exists():
        pixels = _array(folder / "pixels.npy", np.uint8, 4)
        if len(pixels) != count or pixels.shape[-1] != 3:
            raise ValueError(f"pixels are {pixels.shape}")
        pixels = pixels[..., ::-1] if turn else pixels
        return lambda wanted: ((row, pixels[ordinal]) for ordinal, row in wanted.items())
    ends = _array(folder / "ends.npy", np.int64, 1)
    if len(ends) != count or (np.diff(ends, prepend=0) < 0).any():
        raise ValueError("pictures do not lie end to end")

    def read(wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
        with (folder / "files.bin").open("rb") as file:
            for ordinal, row in wanted.items():
                start = int(ends[ordinal - 1]) if ordinal else 0
                file.seek(start)
                yield row, file.read(int(ends[ordinal]) - start)

    return read
