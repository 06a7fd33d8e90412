"""A lab in one file, taken while it works, and what is made of it again."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contracts.events import LogEvent
from app.contracts.jobs import Queue
from app.run import backup
from app.services.lab import Lab
from app.store import catalogue, jobs
from tests.plugins.rows import WORKER, job_row
from tests.web.furnished import PLAIN, furnish


@pytest.fixture
def run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """A command on a lab's folder; the exit code."""

    def command(name: str, file: Path, folder: Path = lab.settings.data_dir) -> int:
        monkeypatch.setenv("LAB_DATA_DIR", str(folder))
        before = os.umask(0o077)
        try:
            return backup.main([name, str(file)])
        finally:
            os.umask(before)

    return command


def rows(folder: Path) -> dict[str, list[Any]]:
    """Of every table, in a database that is whole."""
    with sqlite3.connect(folder / "lab.sqlite3") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        named = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        tables = [name for (name,) in database.execute(named)]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def named_files(lab: Lab) -> dict[Path, bytes]:
    found = lab.files.named(catalogue.named_files(lab.database))
    every = [file for path in found for file in (path.rglob("*") if path.is_dir() else [path])]
    return {f.relative_to(lab.files.root): f.read_bytes() for f in every if f.is_file()}


def test_the_restored_lab_is_equal(lab: Lab, tmp_path: Path, run: Callable[..., int]) -> None:
    furnish(lab, PLAIN)
    lab.files.result("nobody-1").write_text("no row names it")
    assert run("backup", tmp_path / "lab.tar") == 0
    assert (tmp_path / "lab.tar").stat().st_mode & 0o077 == 0
    assert run("restore", tmp_path / "lab.tar", tmp_path / "again") == 0
    assert rows(tmp_path / "again") == rows(lab.settings.data_dir)
    again = Lab.open(lab.settings.model_copy(update={"data_dir": tmp_path / "again"}))
    assert named_files(again) == named_files(lab) != {}
    assert not again.files.result("nobody-1").exists()
    again.close()


def test_a_lab_at_work_is_taken_at_one_moment(
    lab: Lab, tmp_path: Path, run: Callable[..., int]
) -> None:
    """Events come, checkpoints are replaced: what is restored fits together all the same."""
    jobs.add(lab.database, job_row())
    claim = jobs.claim_next(lab.database, Queue.TRAIN, WORKER, lease_s=1000)
    assert claim is not None
    folder = lab.files.checkpoints(claim.job_id) / "1"
    folder.mkdir(parents=True)
    (folder / "best-0.pt").write_bytes(b"best")
    (folder / "last.pt").write_text("0")
    over = threading.Event()

    def work() -> None:
        saves = 0
        while not over.is_set():
            saves += 1
            jobs.report(lab.database, claim, [LogEvent(text=f"save {saves}")])
            (folder / f"best-{saves}.pt").write_bytes(b"best")
            (folder / ".last.part").write_text(str(saves))
            (folder / ".last.part").replace(folder / "last.pt")
            (folder / f"best-{saves - 1}.pt").unlink()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        codes = [run("backup", tmp_path / f"{number}.tar") for number in range(5)]
    finally:
        over.set()
        thread.join()
    assert codes == [0] * 5
    for number in range(5):
        made = tmp_path / f"again-{number}"
        assert run("restore", tmp_path / f"{number}.tar", made) == 0
        log = rows(made)["job_events"]
        assert [row[1] for row in log] == list(range(1, len(log) + 1))
        kept = made / "checkpoints" / claim.job_id / "1"
        assert (kept / f"best-{(kept / 'last.pt').read_text()}.pt").exists()


def _damage(file: Path) -> None:
    """A bit of the database."""
    data = bytearray(file.read_bytes())
    data[tarfile.BLOCKSIZE + 200] ^= 1
    file.write_bytes(data)


def _cut(file: Path) -> None:
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-1]
    file.write_bytes(file.read_bytes()[: last.offset])


def _escape(file: Path) -> None:
    with tarfile.open(file, "a") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))


def _link(file: Path) -> None:
    """To the lab's own folder, which is no file that the manifest could miss."""
    link = tarfile.TarInfo("datasets/link")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    with tarfile.open(file, "a") as archive:
        archive.addfile(link)


def _pack(file: Path) -> None:
    """As a backup is that would fill the disk."""
    file.write_bytes(gzip.compress(file.read_bytes()))


def _no_manifest(file: Path) -> None:
    """A manifest of another shape, after the right one."""
    entry, text = tarfile.TarInfo("MANIFEST.json"), b'{"files": 1}'
    entry.size = len(text)
    with tarfile.open(file, "a") as archive:
        archive.addfile(entry, io.BytesIO(text))


@pytest.mark.parametrize("spoil", [_damage, _cut, _escape, _link, _pack, _no_manifest])
def test_a_spoiled_backup_makes_no_lab(
    lab: Lab,
    tmp_path: Path,
    run: Callable[..., int],
    spoil: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs.add(lab.database, job_row())
    assert run("backup", tmp_path / "lab.tar") == 0
    spoil(tmp_path / "lab.tar")
    before = sorted(tmp_path.iterdir())
    capsys.readouterr()
    assert run("restore", tmp_path / "lab.tar", tmp_path / "again") == 1
    assert sorted(tmp_path.iterdir()) == before
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_nothing_is_overwritten(lab: Lab, tmp_path: Path, run: Callable[..., int]) -> None:
    assert run("backup", tmp_path / "lab.tar") == 0
    before = (tmp_path / "lab.tar").read_bytes()
    assert run("backup", tmp_path / "lab.tar") == 1
    assert run("restore", tmp_path / "lab.tar") == 1, "there is a lab"
    assert run("backup", tmp_path / "other.tar", tmp_path / "nowhere") == 1
    assert (tmp_path / "lab.tar").read_bytes() == before
