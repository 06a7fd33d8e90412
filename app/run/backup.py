"""`python -m app backup FILE` and `restore FILE`: a lab in one file, taken while it runs.

First a snapshot of the database, by SQLite itself, then every file that its rows name. These never
change once a row names them, and what a row names later is in no such backup. Checkpoints do
change: a job's are taken again where they did meanwhile. A manifest with the checksum of every file
comes last, so that a backup that was cut short is none.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from app.errors import trouble
from app.run.checks import CannotStart, read_settings
from app.run.lines import announce
from app.store import catalogue
from app.store.db import Database
from app.store.files import Files, keep_private

COMMANDS = ("backup", "restore")
_DATABASE, _MANIFEST = "lab.sqlite3", "MANIFEST.json"
_TRIES = 20
_CHUNK = 2**20


def main(arguments: Sequence[str]) -> int:
    """0 when it is done, 1 with a line that says why not."""
    parser = argparse.ArgumentParser(prog="python -m app", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("file", type=Path, help="the backup")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings()
        if settings.database_url is not None:
            raise CannotStart(
                "the database of LAB_DATABASE_URL is elsewhere: `pg_dump` writes it to a file, and "
                "the data folder is copied after that (docs/operations.md)"
            )
        if settings.storage_url is not None:
            raise CannotStart("the bucket of LAB_STORAGE_URL has tools of its own for this")
        if options.command == "backup":
            backup(settings.data_dir, options.file)
        else:
            restore(options.file, settings.data_dir)
    except (CannotStart, OSError, tarfile.TarError, sqlite3.Error) as error:
        said = trouble(error) or f"{error}."
        announce(f"AGKD-BML Lab, {options.command}: {said}")
        return 1
    return 0


def backup(folder: Path, target: Path) -> None:
    """Write the lab in `folder` to a new file. Raises CannotStart, OSError."""
    if not (folder / _DATABASE).exists():
        raise CannotStart(f"there is no lab in {folder}; LAB_DATA_DIR says where it is")
    if target.exists():
        raise CannotStart(f"{target} is there already")
    os.umask(0o077)
    part = target.with_name(f".{target.name}.part")
    try:
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
            written = _Writer(archive)
            named = _snapshot(folder / _DATABASE, written)
            for path in Files(folder).named(named):
                written.add_all(folder, path)
            written.close()
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    announce(f"{target}: {len(written.sums):,} files, {target.stat().st_size / 2**20:,.0f} MB.")


def _snapshot(database: Path, written: _Writer) -> dict[str, set[str]]:
    """Take the database as it is at one moment; returns what its rows name."""
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".backup-") as scratch:
        copy = Path(scratch, _DATABASE)
        source, target = sqlite3.connect(database), sqlite3.connect(copy)
        try:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
        finally:
            source.close()
            target.close()
        with copy.open("rb") as stream:
            written.add(_DATABASE, stream)
        opened = Database(f"sqlite:///{copy}")
        try:
            return catalogue.named_files(opened)
        finally:
            opened.close()


class _Writer:
    """Adds files to an archive, and keeps their checksums."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self.sums: dict[str, str] = {}

    def add(self, name: str, stream: BinaryIO) -> None:
        """As much as the file holds now."""
        entry, hashed = tarfile.TarInfo(name), _Hashed(stream)
        entry.size = os.fstat(stream.fileno()).st_size
        self._archive.addfile(entry, hashed)
        self.sums[name] = hashed.digest.hexdigest()

    def add_all(self, folder: Path, path: Path) -> None:
        """A file, or all of a folder; what was removed since the snapshot is left out."""
        with _held(path) as streams:
            for file, stream in streams.items():
                self.add(file.relative_to(folder).as_posix(), stream)

    def close(self) -> None:
        """Write the manifest."""
        text = json.dumps({"files": self.sums}, indent=1).encode()
        entry = tarfile.TarInfo(_MANIFEST)
        entry.size = len(text)
        self._archive.addfile(entry, io.BytesIO(text))


class _Hashed:
    """A stream that is read once, with the checksum of what was read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.digest = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


@contextmanager
def _held(path: Path) -> Iterator[Mapping[Path, BinaryIO]]:
    """All files of a folder at one moment, or the one file; opened, they stay what they are.

    Raises CannotStart where they never do so for as long as it takes to open them.
    """
    for _ in range(_TRIES):
        with ExitStack() as stack:
            try:
                files = _files(path)
                streams = {file: stack.enter_context(file.open("rb")) for file in files}
                same = _files(path) == files
            except FileNotFoundError:  # replaced between two looks, or gone for good
                continue
            if same:
                yield streams
                return
    if path.exists():
        raise CannotStart(f"{path} changes all the time; try again")
    yield {}


def _files(path: Path) -> dict[Path, int]:
    """Whole files below a path, with what tells one from another of the same name."""
    found = path.rglob("*") if path.is_dir() else [path] if path.exists() else []
    return {
        file: file.stat().st_ino
        for file in sorted(found)
        if not file.name.startswith(".") and file.is_file()
    }


def restore(source: Path, folder: Path) -> None:
    """Make a lab of a backup, in a folder that holds none. Raises CannotStart, OSError.

    Nothing is there before every checksum was found right.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CannotStart(f"{folder} is not empty; LAB_DATA_DIR says where to restore")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".restore-") as scratch:
        made = Path(scratch, "data")
        keep_private(made)
        # Not packed: a few kilobytes that are could fill the disk.
        with tarfile.open(source, "r:") as archive:
            archive.extractall(made, filter=_plain)
        count = _check(made)
        (made / _MANIFEST).unlink()
        if folder.exists():
            folder.rmdir()
        shutil.move(made, folder)
    announce(f"{folder}: {count:,} files, each as it was.")


def _plain(entry: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """A backup has files and nothing else. Raises CannotStart, tarfile.FilterError."""
    if not entry.isreg():
        raise CannotStart(f"this is no backup: {entry.name} in it is no file")
    return tarfile.data_filter(entry, folder)


def _check(folder: Path) -> int:
    """How many files there are. Raises CannotStart where one is missing, damaged or more."""
    try:
        sums: dict[str, str] = dict(json.loads((folder / _MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CannotStart("this is no whole backup: its manifest is missing") from None
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if found != sums.keys() | {_MANIFEST} or _DATABASE not in sums:
        raise CannotStart("this is no whole backup: its files are not those of its manifest")
    for name, expected in sums.items():
        with (folder / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                raise CannotStart(f"the backup is damaged: {name} is not what it was")
    return len(sums)
