"""The parts of the supervisor, each with real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.run import leftovers
from app.run.broker import Broker
from app.run.processes import Child, kill_group, stop
from tests.plugins.lab_process import ROOT, processes, wait_until

# A process that ignores a polite request, and so does the one that it starts.
_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
open(f"{os.getpid()}.up", "w").close()
time.sleep(600)
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STUBBORN], cwd=tmp_path, start_new_session=True
    )
    wait_until(lambda: len(list(tmp_path.glob("*.up"))) == 2, "two processes")
    yield process
    kill_group(process.pid)
    process.wait()


def _group(pid: int) -> list[int]:
    return [process.pid for process in processes().values() if process.group == pid]


def test_a_group_that_ignores_the_request_is_killed_whole(
    stubborn: subprocess.Popen[bytes],
) -> None:
    stop([stubborn.pid], grace_s=0.2)
    wait_until(lambda: not _group(stubborn.pid), "the group is gone")


def test_hurry_cuts_the_wait_short(stubborn: subprocess.Popen[bytes]) -> None:
    stop([stubborn.pid], grace_s=3600.0, hurry=lambda: True)
    wait_until(lambda: not _group(stubborn.pid), "the group is gone")


def test_a_group_that_is_gone_needs_no_waiting() -> None:
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()
    stop([process.pid], grace_s=3600.0)


def test_the_watchdog_ends_what_was_named_last(stubborn: subprocess.Popen[bytes]) -> None:
    polite = subprocess.Popen(["sleep", "600"], start_new_session=True)
    spared = subprocess.Popen(["sleep", "600"], start_new_session=True)
    code = "import app.run.processes as p; p.GRACE_S = 0.2; p.watchdog()"
    watchdog = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)
    assert watchdog.stdin is not None
    for stages in ([[spared.pid], []], [[polite.pid], [stubborn.pid]]):
        watchdog.stdin.write(json.dumps(stages).encode() + b"\n")
        watchdog.stdin.flush()
    watchdog.stdin.close()
    assert watchdog.wait(60) == 0
    assert polite.wait(60) == -signal.SIGTERM
    wait_until(lambda: not _group(stubborn.pid), "the stubborn group is gone")
    assert spared.poll() is None
    spared.kill()
    spared.wait()


def test_a_child_that_ends_starts_again_later_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "starts"
    command = [sys.executable, "-c", f"print('up'); open({str(record)!r}, 'a').write('x')"]
    child = Child("short", [*command], os.environ)
    child.start()
    deadline = time.monotonic() + 60
    while record.stat().st_size < 3 if record.exists() else True:
        child.tend()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while child.pid is not None:
        child.tend()
        time.sleep(0.05)
    said = capsys.readouterr().err
    assert re.findall(r"short ended \(code 0\); it starts again in (\d) s", said) == ["1", "2", "4"]
    assert "[short] up" in said


def test_the_broker_is_private(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "valkey")
    broker.child.start()
    try:
        broker.wait()
        path = tmp_path / "valkey"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "valkey.conf").stat().st_mode) == 0o600
        match = re.fullmatch(r"unix://:(\w+)@(.+)\?db=0", broker.url)
        assert match is not None
        password, socket_path = match.groups()
        assert len(socket_path) < 104
        assert stat.S_IMODE(Path(socket_path).stat().st_mode) == 0o700
        assert all(password not in process.command for process in processes().values())
        stranger = redis.Redis(unix_socket_path=socket_path)
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("key")
        with redis.Redis.from_url(broker.url) as client:
            assert client.info("server")["tcp_port"] == 0
    finally:
        _end(broker)


def test_what_the_broker_was_told_survives_a_kill_and_a_leftover_is_replaced(
    tmp_path: Path,
) -> None:
    first = Broker(tmp_path / "valkey")
    first.child.start()
    first.wait()
    with redis.Redis.from_url(first.url) as client:
        client.set("key", "kept")
    # A second lab on the same files, while the first one's server still runs.
    second = Broker(tmp_path / "valkey")
    wait_until(first.child.ended, "the leftover has ended")
    second.child.start()
    second.wait()
    try:
        assert first.url != second.url
        with redis.Redis.from_url(second.url) as client:
            assert client.get("key") == b"kept"
    finally:
        first.child.forget()
        _end(second)


def test_a_lab_on_a_copy_leaves_the_broker_of_the_original_alone(tmp_path: Path) -> None:
    original = Broker(tmp_path / "valkey")
    original.child.start()
    original.wait()
    ignored = shutil.ignore_patterns("*.sock")
    shutil.copytree(tmp_path / "valkey", tmp_path / "copy", ignore=ignored)
    copy = Broker(tmp_path / "copy")
    try:
        with redis.Redis.from_url(original.url) as client:
            assert client.ping()
    finally:
        copy.clean()
        _end(original)


def test_what_two_killed_processes_left_is_found_and_ended(tmp_path: Path) -> None:
    """Not another process of the same number, and nothing for who starts on a copy."""
    folder, copy = tmp_path / "data", tmp_path / "copy"
    folder.mkdir()
    assert leftovers.end(folder) == []
    ours, others = (subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in "12")
    try:
        leftovers.record(folder, {"web": ours.pid, "train": others.pid})
        kept = json.loads((folder / "lab.processes").read_text())
        kept["processes"]["train"][1] = "1"  # the number had another use before
        (folder / "lab.processes").write_text(json.dumps(kept))
        shutil.copytree(folder, copy)
        assert leftovers.end(copy) == []
        assert (ours.poll(), others.poll()) == (None, None)
        threading.Thread(target=ours.wait).start()  # as the first process of a machine would
        assert leftovers.end(folder) == ["web"]
        assert ours.wait(60) == -signal.SIGTERM
        assert others.poll() is None
        assert leftovers.end(folder) == []
    finally:
        for process in (ours, others):
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", ["x" * 100, "a folder with spaces", "größe%20?#"])
def test_a_data_folder_of_any_name_will_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    broker = Broker(tmp_path / name / "valkey")
    broker.child.start()
    broker.wait()
    socket_path = Path(broker.url.split("@")[1].removesuffix("?db=0"))
    _end(broker)
    assert tmp_path not in socket_path.parents
    assert not socket_path.parent.exists()


def _end(broker: Broker) -> None:
    assert broker.child.pid is not None
    stop([broker.child.pid], grace_s=10.0, is_gone=lambda _: broker.child.ended())
    broker.child.forget()
    broker.clean()
