"""Archives from strangers: read forwards, within limits, with nothing unpacked to disk."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from worker.data.errors import DatasetError
from worker.data.layout import Member, printable, split_path

MAX_MEMBERS = 250_000
MAX_TOTAL = 4 * 2**30  # bytes, uncompressed
MAX_FILE = 32 * 2**20  # bytes of one file
_BLOCK = 512  # bytes; the unit of tar


class Archive(Protocol):
    """An archive on disk. Both passes raise `DatasetError` where it is damaged or above a limit."""

    def members(self) -> list[Member]:
        """The files and folders, without links, devices and hidden files."""
        ...

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        """For each ordinal in `wanted`: its value, and the file's bytes or why there are none."""
        ...


def open_archive(path: Path) -> Archive:
    """The archive at `path`; its kind is told from its first bytes, not from its name.

    Raises:
        DatasetError: it is no zip or tar archive.
    """
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _Zip(path)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _Tar(path, lzma.LZMAFile)
    if head.startswith(b"\x1f\x8b"):
        return _Tar(path, gzip.GzipFile)
    if head[257:262] == b"ustar":
        return _Tar(path, _open_plain)
    raise DatasetError(
        "The file is not an archive that the lab can read.",
        "Upload a .zip, .tar, .tar.gz or .tar.xz of class folders.",
    )


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path

    def members(self) -> list[Member]:
        with _explained(), zipfile.ZipFile(self._path) as archive:
            infos = archive.infolist()
            _check_limits(len(infos), sum(info.file_size for info in infos))
            if any(info.flag_bits & 1 for info in infos):
                raise DatasetError("The archive is encrypted.", "Pack it without a password.")
            found = []
            for ordinal, info in enumerate(infos):
                parts = split_path(info.filename)
                if parts is not None and not stat.S_ISLNK(info.external_attr >> 16):
                    found.append(Member(ordinal, parts, info.file_size, info.is_dir()))
            return found

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


class _Tar:
    def __init__(self, path: Path, opener: Callable[[Path], io.BufferedIOBase]) -> None:
        self._path = path
        self._open = opener

    def members(self) -> list[Member]:
        found = []
        with _explained(), self._open(self._path) as raw:
            stream = _Forward(raw)
            for ordinal, info in enumerate(_tar_infos(stream)):
                parts = split_path(info.name)
                plain = info.isdir() or (info.isreg() and not info.issparse())
                if parts is not None and plain:
                    found.append(Member(ordinal, parts, info.size, info.isdir()))
            stream.drain()  # so that a checksum at the end is checked too
        return found

    def read(self, wanted: Mapping[int, int]) -> Iterator[tuple[int, bytes | str]]:
        with _explained(), self._open(self._path) as raw:
            stream = _Forward(raw)
            for ordinal, info in enumerate(_tar_infos(stream)):
                if ordinal not in wanted:
                    continue
                if info.size > MAX_FILE:
                    yield wanted[ordinal], _too_long()
                    continue
                stream.seek(info.offset_data)
                yield wanted[ordinal], stream.read(info.size)


def _open_plain(path: Path) -> io.BufferedIOBase:
    return path.open("rb")


def _tar_infos(stream: "_Forward") -> Iterator[tarfile.TarInfo]:
    """The headers of a tar, each before its data is read.

    `tarfile` takes any broken header for the end; a whole archive ends with a block of zeros.
    """
    count = 0
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            archive.members = []  # it would keep every header
            count += 1
            _check_limits(count, 0)
            yield info
    if stream.last != bytes(_BLOCK):
        raise tarfile.ReadError("no end of archive")


class _Forward:
    """A stream that is read once, forwards, so that no header can send a compressed one back."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw = raw
        self._position = 0
        self.last = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > MAX_FILE:
            raise tarfile.ReadError("a header is too long")
        self.last = self._raw.read(size)
        self._position += len(self.last)
        _check_limits(0, self._position)
        return self.last

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        while self._position < position:
            if not self.read(min(position - self._position, 2**20)):
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


def _check_limits(members: int, total: int) -> None:
    if members > MAX_MEMBERS:
        raise DatasetError(
            f"The archive has more than {MAX_MEMBERS:,} files.",
            "Leave out files that are not images, or take fewer images.",
        )
    if total > MAX_TOTAL:
        raise DatasetError(
            f"The archive unpacks to more than {MAX_TOTAL // 2**30} GiB.",
            "Resize the images before packing them: the lab stores 32 or 64 pixels a side.",
        )


def _too_long() -> str:
    return f"too large: more than {MAX_FILE // 2**20} MiB"
