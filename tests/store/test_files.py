"""Files appear whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.store.files import Files, atomic_write, keep_private, remove


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    with atomic_write(target) as stream:
        stream.write(b"first")

    def fail_half_way() -> None:
        with atomic_write(target) as stream:
            stream.write(b"second, half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unfinished_file_is_not_seen_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    with atomic_write(target) as stream:
        stream.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.prepare()
    left = [files.upload(".u.0a1b2c3d.part"), files.weights("m").with_suffix(".2.converted")]
    kept = [files.upload("u"), files.weights("m"), files.upload(".v.0a1b2c3d.part")]
    for path in (*left, *kept):
        path.write_bytes(b"weights")
        if path != kept[-1]:
            os.utime(path, (0, 0))
    files.prepare()
    assert [path.exists() for path in (*left, *kept)] == [False] * 2 + [True] * 3


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(OSError, match="data"):
        Files(tmp_path / "data").prepare()


def test_what_the_lab_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        keep_private(tmp_path / "data")
        Files(tmp_path / "data").prepare()
        with atomic_write(Files(tmp_path / "data").upload("u")) as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    found = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert len(found) > 5
    assert not [path for path in found if path.stat().st_mode & 0o077]


def test_removing_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    (folder / "inner").mkdir(parents=True)
    file.write_text("x")
    for path in (folder, file, tmp_path / "absent"):
        remove(path)
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_measured_again_after_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, now = Files(tmp_path), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    files.prepare()
    assert files.used_by("ada", lambda: {"m"}) == 0
    files.upload("m").write_bytes(b"x")
    assert files.used_by("ada", lambda: {"m"}) == 0
    assert files.used_by("rita", lambda: {"n"}) == 0
    now += 31
    assert files.used_by("ada", lambda: {"m"}) == 1
