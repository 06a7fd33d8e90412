"""Files of a lab on several machines: in a bucket that all of them reach, with copies on each.

What a job makes is written to a folder of this machine as ever, and `keep` puts it into the bucket;
`here` gives a copy. A row names every object with its checksum, and is written after it: a torn
upload is nothing that anybody sees. An object's key ends with its checksum, so that no key ever
means something else, and who reads what is being replaced gets the whole of the old or of the new.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from app.contracts.storage import Storage
from app.errors import Damaged, StorageAway
from app.settings import Settings
from app.store import stored
from app.store.bucket import Bucket
from app.store.cache import Cache
from app.store.db import Database
from app.store.files import WRITTEN_WITHIN_S, Files, changed, named_as, remove
from app.store.tables import StoredRow

_LOOKS = 3
_REWRITTEN = "checkpoints"
"""Of this room the maker goes on with what is on its disk."""


def files_of(
    settings: Settings, database: Database, *, patience_s: float, answers_s: float | None = None
) -> Files:
    """The files of a lab: in its data folder, or where `LAB_STORAGE_URL` says.

    Args:
        patience_s: for how long a storage that is away is asked again.
        answers_s: how long it may take to a short question before each transfer (`Bucket`).
    """
    if settings.storage_url is None:
        return Files(settings.data_dir)
    bucket = Bucket(Storage.of(settings.storage_url), patience_s=patience_s, answers_s=answers_s)
    return SharedFiles(settings.data_dir / "storage", database, bucket, settings.cache_mb * 2**20)


class SharedFiles(Files):
    """Paths are those of a data folder below `root`, where nothing is for longer than it takes to
    write it."""

    is_shared = True

    def __init__(self, root: Path, database: Database, bucket: Bucket, most_copies: int) -> None:
        """`most_copies`: bytes of this machine's disk that copies may take."""
        super().__init__(root)
        self._database, self._bucket = database, bucket
        self._cache = Cache(root / "copies", most_copies)

    def prepare(self) -> None:
        super().prepare()
        self._cache.prepare()
        forgotten = time.time() - WRITTEN_WITHIN_S
        for path in self._entries():
            with suppress(FileNotFoundError):  # another process works there, and is done with it
                if changed(path) < forgotten:
                    remove(path)

    def keep(self, path: Path) -> None:
        """Raises StorageAway, OSError."""
        name = self._name(path)
        rows = self.take(path, name)
        if rows and not name.startswith(_REWRITTEN):
            self._cache.get(_digest(name, rows), partial(_move, path))
            remove(path)

    def take(self, path: Path, name: str) -> list[StoredRow]:
        """Store a file or a folder that lies anywhere under a name of the lab's; returns the rows
        of its files. Raises StorageAway, OSError."""
        rows = list[StoredRow]()
        before = {each.name: each.sha256 for each in stored.under(self._database, name)}
        for file in _whole_files(path):
            inner = file.relative_to(path).as_posix() if path.is_dir() else ""
            row = stored.row(f"{name}/{inner}".rstrip("/"), *_measured(file))
            if before.get(row.name) != row.sha256:
                self._bucket.put(file, _key(row))
            rows.append(row)
        if rows:
            left = {_key(row) for row in rows}
            gone = stored.replace(self._database, name, rows)
            self._forget(key for row in gone if (key := _key(row)) not in left)
        return rows

    def here(self, path: Path) -> Path:
        """Raises StorageAway, Damaged, OSError."""
        name = self._name(path)
        for _ in range(_LOOKS):
            rows = stored.under(self._database, name)
            if not rows:
                break
            try:
                copy = self._cache.get(_digest(name, rows), partial(self._fetch, name, rows))
            except FileNotFoundError:  # replaced by another, or gone for good
                continue
            return copy / path.name if rows[0].name == name else copy
        return path

    def _fetch(self, name: str, rows: Sequence[StoredRow], folder: Path) -> None:
        for row in rows:
            target = folder / _relative(name, row)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._bucket.get(_key(row), target, row.size_bytes)
            if _measured(target) != (row.sha256, row.size_bytes):
                raise Damaged(
                    f"{row.name} in the storage is not the file that was stored.",
                    hint="It was changed or damaged there: restore it from a backup, or make it "
                    "again.",
                )

    def has(self, path: Path) -> bool:
        return bool(stored.under(self._database, self._name(path)))

    def drop(self, path: Path) -> None:
        name = self._name(path)
        gone = stored.replace(self._database, name, ())
        if gone:
            self._cache.forget(_digest(name, gone))
        self._forget(map(_key, gone))
        remove(path)

    def _forget(self, keys: Iterator[str]) -> None:
        try:
            self._bucket.drop(keys)
        except StorageAway:
            return  # no row names them: `tidy` finds them

    def tidy(self) -> None:
        """Raises StorageAway."""
        named = {f"{name}.{sha256}" for name, sha256 in stored.sums(self._database).items()}
        forgotten = time.time() - WRITTEN_WITHIN_S
        self._bucket.drop(
            key for key, at in self._bucket.listed() if at < forgotten and key not in named
        )
        self._bucket.drop_torn(forgotten)

    def trouble(self) -> str | None:
        return self._bucket.trouble()

    def left_by(self, job_id: str) -> Iterator[Path]:
        for place in stored.places_of(self._database, job_id):
            if place.startswith(("results/", "adversarial/")):
                yield self.root / place

    def unnamed(self, named: Mapping[str, Collection[str]]) -> Iterator[Path]:
        for place in stored.old_places(self._database, time.time() - WRITTEN_WITHIN_S):
            room, _, name = place.partition("/")
            if room in named and named_as(room, name) not in named[room]:
                yield self.root / place

    def _measure(self) -> dict[str, int]:
        return stored.sizes(self._database)

    def attempts(self, job_id: str) -> set[Path]:
        folder = self.checkpoints(job_id)
        rows = stored.under(self._database, self._name(folder))
        return {folder / _relative(self._name(folder), row).split("/")[0] for row in rows}

    def with_checkpoints(self) -> set[str]:
        """In the bucket, or on this machine alone: not every save was due to be sent."""
        return stored.in_room(self._database, "checkpoints") | super().with_checkpoints()

    def has_checkpoint(self, job_id: str) -> bool:
        rows = stored.under(self._database, self._name(self.checkpoints(job_id)))
        return any(row.name.endswith(".pt") for row in rows)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _whole_files(path: Path) -> list[Path]:
    found = path.rglob("*") if path.is_dir() else [path]
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def _measured(file: Path) -> tuple[str, int]:
    """SHA-256 and bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), file.stat().st_size


def _key(row: StoredRow) -> str:
    return f"{row.name}.{row.sha256}"


def _relative(name: str, row: StoredRow) -> str:
    return row.name[len(name) + 1 :] or row.name.rpartition("/")[2]


def _digest(name: str, rows: Sequence[StoredRow]) -> str:
    """What copies of the same files have in common, whoever made them."""
    lines = sorted(f"{row.sha256}  {_relative(name, row)}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _move(path: Path, folder: Path) -> None:
    """What was just stored is its own first copy."""
    for each in list(path.iterdir()) if path.is_dir() else [path]:
        each.rename(folder / each.name)
