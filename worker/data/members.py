"""Archives from strangers: read forwards, within limits, with nothing unpacked to disk."""

import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from worker.data import names
from worker.data.errors import DatasetError
from worker.data.names import Encoding, printable

Parsed = TypeVar("Parsed")
MAX_MEMBERS = 250_000
MOST_BYTES = 8 * 2**30  # of an archive unpacked, and of the pixels of a dataset, unless told
MAX_FILE = 32 * 2**20  # bytes of one file
LONE_FILES = (b"MATLAB 5.0 MAT-file", b"PAR1")
"""How files begin that are a dataset, or a part of one, with no archive around them."""
_OTHER_KINDS = {
    b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7-Zip archive", b"BZh": "packed by bzip2",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard", b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a single picture", b"\xff\xd8\xff": "a single picture",
    b"PK\x07\x08": "one of the parts of a zip that was split",
    b"<!DOCTYPE": "a web page", b"<html": "a web page", b"version https://git-lfs":
    "a pointer of Git LFS, not the file itself",
}  # fmt: skip
_BLOCK = 512  # bytes; the unit of tar
_LONGEST_HEADER = 2**20  # bytes of a member's headers in a tar
_LONGEST_NUMBER = 1000  # digits in them
_DIGITS = re.compile(rb"\d+")
_WINDOWS = (0, 10, 11, 14)  # systems whose file names hold no backslash (APPNOTE 4.4.2.2)
_UTF8 = 0x800  # flag of a zip's member whose name is UTF-8
_UNICODE_PATH = 0x7075  # its extra field with the name in Unicode


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive: its place there, its path in NFC and its size in bytes."""

    ordinal: int
    path: names.Path
    size: int
    is_folder: bool
    raw: str
    """Its name as it stands there."""


class Listing(NamedTuple):
    """What an archive holds."""

    members: list[Member]
    left_out: Counter[str]
    """Files that are none of the archive's own, by the reason."""
    guessed: tuple[str, ...]
    """Names whose encoding is a guess."""


class Archive(Protocol):
    """An archive on disk. Both passes raise `DatasetError` where it is damaged or above a limit."""

    def members(self) -> Listing:
        """The files and folders, without links, devices and hidden files."""
        ...

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        """For each ordinal in `wanted`: its value, and the file's bytes or why there are none."""
        ...

    def copy(self, wanted: Mapping[int, Path]) -> None:
        """Write the files with these ordinals, of any length, where their values say."""
        ...


def open_archive(
    path: Path, *, name: str, encoding: Encoding = "auto", most_bytes: int = MOST_BYTES
) -> Archive:
    """The archive at `path`; its kind is told from its first bytes, not from its name.

    Args:
        name: what the file is called; of a file of a dataset that is no archive it is the member's.
        encoding: of names in a zip that does not say it.
        most_bytes: to which it may unpack.

    Raises:
        DatasetError: it is no zip or tar archive, and no file of a dataset.
    """
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    if _is_lone(path, name, head):
        return _Lone(path, name)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _Zip(path, encoding, most_bytes)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _Tar(path, lzma.LZMAFile, most_bytes)
    if head.startswith(b"\x1f\x8b"):
        return _Tar(path, gzip.GzipFile, most_bytes)
    if head[257:262] == b"ustar":
        return _Tar(path, _open_plain, most_bytes)
    other = next((said for magic, said in _OTHER_KINDS.items() if head.startswith(magic)), "")
    raise DatasetError(
        f"The file is {other}." if other else "The file is not an archive that the lab can read.",
        "Upload a .zip, .tar, .tar.gz or .tar.xz of class folders.",
    )


def _is_lone(path: Path, name: str, head: bytes) -> bool:
    """Whether a file is one of a dataset, and no archive of such files."""
    if head.startswith(LONE_FILES) or name.lower().endswith(("-ubyte", "-ubyte.gz")):
        return True
    if name.lower().endswith(".csv") and b"\0" not in head:
        return True
    if not head.startswith(b"PK\x03\x04") or not name.lower().endswith(".npz"):
        return False
    with _explained(), zipfile.ZipFile(path) as archive:
        return all(inner.endswith(".npy") for inner in archive.namelist())


class _Lone:
    """One file of a dataset that came without an archive."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def members(self) -> Listing:
        size = self._path.stat().st_size
        return Listing([Member(0, (self._name,), size, False, self._name)], Counter(), ())

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        yield from ((key, _too_long()) for key in wanted.values())

    def copy(self, wanted: Mapping[int, Path]) -> None:
        for target in wanted.values():
            target.symlink_to(self._path)


class _Zip:
    def __init__(self, path: Path, encoding: Encoding, most_bytes: int) -> None:
        self._path = path
        self._encoding = encoding
        self._most = most_bytes

    def members(self) -> Listing:
        with _explained(), zipfile.ZipFile(self._path) as archive:
            infos = archive.infolist()
            _check_number(len(infos))
            _check_size(sum(info.file_size for info in infos), self._most)
            if any(info.flag_bits & 1 for info in infos):
                raise DatasetError("The archive is encrypted.", "Pack it without a password.")
            decoded = [_zip_name(info, self._encoding) for info in infos]
            windows = [info.create_system in _WINDOWS for info in infos]
            paths = names.with_slashes([name for name, _ in decoded], windows)
            return _listing(
                (
                    (ordinal, name, info.file_size, name.endswith("/"), _zip_kind(info))
                    for ordinal, (name, info) in enumerate(zip(paths, infos, strict=True))
                ),
                tuple(name for name, guessed in decoded if guessed),
            )

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        with _explained(), zipfile.ZipFile(self._path) as archive:
            infos = archive.infolist()
            for ordinal, key in wanted.items():
                if infos[ordinal].file_size > MAX_FILE:
                    yield key, _too_long()
                    continue
                try:
                    with archive.open(infos[ordinal]) as file:
                        data: bytes | str = file.read(MAX_FILE)
                except Exception as error:  # this file only: the others have places of their own
                    data = f"damaged in the archive: {error}"
                yield key, data

    def copy(self, wanted: Mapping[int, Path]) -> None:
        with _explained(), zipfile.ZipFile(self._path) as archive:
            infos = archive.infolist()
            for ordinal, target in wanted.items():
                with archive.open(infos[ordinal]) as file, target.open("wb") as out:
                    _copy(file, out, infos[ordinal].file_size)


def _zip_name(info: zipfile.ZipInfo, encoding: Encoding) -> tuple[str, bool]:
    """A member's name, and whether its encoding is a guess."""
    if info.flag_bits & _UTF8:
        return info.filename, False
    # `zipfile` took the bytes for cp437, which has a character for each; they lead back to them.
    raw = info.orig_filename.encode("cp437", "replace").partition(b"\0")[0]
    return _unicode_name(info.extra) or names.unflagged(raw, encoding)


def _unicode_name(extra: bytes) -> tuple[str, bool] | None:
    """What the field for names in Unicode says (APPNOTE 4.6.9), where there is one."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and length > 5:
            return extra[9 : 4 + length].decode("utf-8", "surrogateescape"), False
        extra = extra[4 + length :]
    return None


def _zip_kind(info: zipfile.ZipInfo) -> str:
    return "links" if stat.S_ISLNK(info.external_attr >> 16) else ""


class _Tar:
    def __init__(
        self, path: Path, opener: Callable[[Path], io.BufferedIOBase], most_bytes: int
    ) -> None:
        self._path = path
        self._open = opener
        self._most = most_bytes

    def members(self) -> Listing:
        found = []
        with _explained(), self._open(self._path) as raw:
            stream = _Forward(raw, self._most)
            for info in _tar_infos(stream):
                found.append((info.name, info.size, info.isdir(), _tar_kind(info)))
            stream.drain()  # so that a checksum at the end is checked too
        paths = names.with_slashes([name for name, *_ in found], [False] * len(found))
        return _listing(
            (ordinal, path, size, is_folder, kind)
            for ordinal, (path, (_, size, is_folder, kind)) in enumerate(
                zip(paths, found, strict=True)
            )
        )

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        with _explained(), self._open(self._path) as raw:
            stream = _Forward(raw, self._most)
            for ordinal, info in _wanted_infos(stream, wanted):
                if info.size > MAX_FILE:
                    yield wanted[ordinal], _too_long()
                    continue
                stream.seek(info.offset_data)
                yield wanted[ordinal], stream.read(info.size)

    def copy(self, wanted: Mapping[int, Path]) -> None:
        with _explained(), self._open(self._path) as raw:
            stream = _Forward(raw, self._most)
            for ordinal, info in _wanted_infos(stream, wanted):
                stream.seek(info.offset_data)
                with wanted[ordinal].open("wb") as out:
                    _copy(stream, out, info.size)


def _wanted_infos(
    stream: "_Forward", wanted: Collection[int]
) -> Iterator[tuple[int, tarfile.TarInfo]]:
    """Headers by ordinals, up to the last that is wanted; `members` has checked what follows."""
    found = (each for each in enumerate(_tar_infos(stream)) if each[0] in wanted)
    return islice(found, len(wanted))


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "links"
    plain = info.isdir() or (info.isreg() and not info.issparse())
    return "" if plain else "devices, pipes or sparse files"


def _listing(
    found: Iterable[tuple[int, str, int, bool, str]], guessed: tuple[str, ...] = ()
) -> Listing:
    """Of ordinal, name, size, whether it is a folder, and why its kind is left out."""
    members, left_out = [], Counter[str]()
    for ordinal, name, size, is_folder, kind in found:
        path = names.split_path(name)
        reason = kind or names.why_left_out(path, name)
        if not reason and path:
            members.append(Member(ordinal, path, size, is_folder, name))
        elif not is_folder:
            left_out[reason or "without a name"] += 1
    return Listing(members, left_out, guessed)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _copy(source: _Readable, target: BinaryIO, length: int) -> None:
    """So many bytes."""
    left = length
    while left and (block := source.read(min(left, 2**20))):
        target.write(block)
        left -= len(block)
    if left:
        raise EOFError("unexpected end")


def _open_plain(path: Path) -> io.BufferedIOBase:
    return path.open("rb")


def _tar_infos(stream: "_Forward") -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, each before its data is read.

    `tarfile` takes any broken header for the end; a whole archive ends with a block of zeros.
    """
    count = 0
    # Opening reads the first header.
    opened = stream.header(partial(tarfile.open, fileobj=stream, mode="r:"))
    with opened as archive:
        while (info := stream.header(archive.next)) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header
            count += 1
            _check_number(count)
            yield info
    if stream.last != bytes(_BLOCK):
        raise tarfile.ReadError("no end of archive")


class _Forward:
    """A stream that is read once, forwards, so that no header can send a compressed one back."""

    def __init__(self, raw: io.BufferedIOBase, most_bytes: int) -> None:
        self._raw = raw
        self._most = most_bytes
        self._position = 0
        self._left: int | None = None
        self.last = b""

    def header(self, parse: Callable[[], Parsed]) -> Parsed:
        """What `parse` reads is a header: short, and without what `tarfile` takes an age for.

        It searches records of pax by a pattern whose time grows with the square of a run of digits
        (CVE-2024-6232).
        """
        self._left = _LONGEST_HEADER
        parsed = parse()
        self._left = None
        return parsed

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > (MAX_FILE if self._left is None else self._left):
            raise tarfile.ReadError("a header is too long")
        data = self._take(size)
        if self._left is not None:
            self._left -= len(data)
            if any(len(run[0]) > _LONGEST_NUMBER for run in _DIGITS.finditer(data)):
                raise tarfile.ReadError("a header holds a number without an end")
        return data

    def _take(self, size: int) -> bytes:
        self.last = self._raw.read(size)
        self._position += len(self.last)
        _check_size(self._position, self._most)
        return self.last

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            if not self._take(min(position - self._position, 2**20)):
                raise EOFError("unexpected end")

    def drain(self) -> None:
        while self.read(2**20):
            pass


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever a broken archive raises into a `DatasetError`."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # parsers of hostile bytes raise nearly anything
        raise DatasetError(
            f"The archive is damaged or cut short ({printable(str(error))}).",
            "Pack it again, or upload it again: not all of it may have arrived.",
        ) from error


def _check_number(members: int) -> None:
    if members > MAX_MEMBERS:
        raise DatasetError(
            f"The archive has more than {MAX_MEMBERS:,} files.",
            "Leave out files that are not images, or take fewer images.",
        )


def _check_size(total: int, most: int) -> None:
    if total > most:
        raise DatasetError(
            f"The archive unpacks to more than {most // 2**20:,} MB.",
            "Resize the images before packing them: the lab stores at most 224 pixels a side. Or "
            "raise LAB_MAX_DATASET_MB.",
        )


def _too_long() -> str:
    return f"too large: more than {MAX_FILE // 2**20} MiB"
