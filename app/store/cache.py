"""Copies of what lies in storage, by checksum, on this machine's disk: files for readers that want
files.

Several processes use one cache. A copy is made under another name and renamed, so that what is
there is whole; and one process at a time makes the same. What was used least recently goes first,
never what was used a moment ago: who got a path has time to open it, and an open file stays what it
is.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.store.files import remove, size_of

IN_USE_S = 900.0
"""For so long after it was asked for, a copy stays."""
_UNWANTED_S = 7 * 24 * 3600.0
"""What nobody asked for in so long goes, however much room there is: it may be deleted by now."""
_TORN_S = 24 * 3600.0
_APART_S = 10.0
"""The cache is looked through this often at most."""
_LOCKS = 64


class Cache:
    """A folder of copies: `<key>/<names>`."""

    def __init__(self, folder: Path, most: int) -> None:
        """`most`: bytes that it may take, but for what is in use."""
        self._folder, self._most = folder, most
        self._looked = 0.0

    def prepare(self) -> None:
        """Make the folder, and remove what is too much in it. Raises OSError."""
        (self._folder / "locks").mkdir(parents=True, exist_ok=True)
        self._tidy()

    def get(self, key: str, fill: Callable[[Path], None]) -> Path:
        """The folder of a copy, made by `fill` in an empty one where there is none.

        Raises what `fill` raises.
        """
        entry = self._folder / key
        if not _touched(entry):
            with self._alone(key):
                if not _touched(entry):
                    self._make(entry, fill)
            self._tidy()
        return entry

    def _make(self, entry: Path, fill: Callable[[Path], None]) -> None:
        part = self._torn(entry)
        try:
            part.mkdir(parents=True)
            fill(part)
            part.rename(entry)
        except BaseException:
            remove(part)
            raise

    def forget(self, key: str) -> None:
        """Nobody will ask for it again."""
        self._remove(self._folder / key)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One thread of all processes at a time."""
        lock = self._folder / "locks" / str(int(key[:8], 16) % _LOCKS)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _tidy(self) -> None:
        if time.monotonic() - self._looked < _APART_S:
            return
        self._looked, now = time.monotonic(), time.time()
        found = sorted(self._entries())
        taken = sum(size for _, size, _ in found)
        for used, size, path in found:
            torn = path.name.startswith(".")
            kept_s = _TORN_S if torn else IN_USE_S
            unwanted = taken > self._most or torn or now - used > _UNWANTED_S
            if unwanted and now - used > kept_s and _used_at(path) == used:
                self._remove(path)
                taken -= size

    def _remove(self, entry: Path) -> None:
        """All of it at one moment, so that nobody is given what is half gone."""
        torn = self._torn(entry)
        with suppress(FileNotFoundError):  # another process tidies too
            entry.rename(torn)
            remove(torn)

    def _torn(self, entry: Path) -> Path:
        """Another name, by which it is no copy."""
        return self._folder / f".{entry.name.strip('.')}.{secrets.token_hex(4)}.part"

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When each was used last, its bytes, and where it is."""
        for entry in os.scandir(self._folder):
            if entry.name != "locks":
                with suppress(FileNotFoundError):  # another process tidies too
                    yield entry.stat().st_mtime, size_of(entry), Path(entry.path)


def _used_at(entry: Path) -> float | None:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return None


def _touched(entry: Path) -> bool:
    """Whether it is there; it was used now."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    return True
