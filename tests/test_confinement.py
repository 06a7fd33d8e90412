"""What a process that reads files from outside can still do: nothing but read them."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import confinement

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import os, resource, signal, socket, sys
from pathlib import Path
from threading import Thread, get_native_id
from confinement import confine, gaps, guard
{before}
given, made, secret = map(Path, sys.argv[1:4])
parent = os.getppid()
watched = os.pidfd_open(parent)
confine(reads=[given], writes=[made])
ways = dict(
    reads=given.read_text,
    writes=lambda: (made / "new").write_text("new"),
    renames=lambda: (made / "new").rename(made / "newer"),
    looks=lambda: secret.read_text(),
    lists=lambda: os.listdir(secret.parent),
    overwrites=lambda: secret.write_text(""),
    empties=lambda: os.truncate(secret, 0),
    removes=lambda: secret.unlink(),
    opens_up=lambda: secret.chmod(0o644),
    links=lambda: (made / "link").symlink_to(secret),
    looks_by_proc=lambda: Path("/proc", str(parent), "environ").read_bytes(),
    connects=lambda: socket.create_connection(("127.0.0.1", int(sys.argv[4])), timeout=5),
    sends=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    speaks_to_the_broker=lambda: socket.socket(socket.AF_UNIX),
    runs=lambda: os.execv("/bin/true", ["true"]),
    signals=lambda: os.kill(parent, 0),
    queues_signals=lambda: signal.pidfd_send_signal(watched, 0),
    limits=lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
    begins_threads=lambda: Thread(target=get_native_id).start(),
    begins_processes=lambda: os.fork() or os._exit(0),
)
for name, way in ways.items():
    try:
        way()
    except OSError as error:
        print(name, type(error).__name__)
    else:
        print(name, "done")
"""
# A seccomp filter that answers Landlock's first call with EPERM, as some containers do: load the
# number of the call; unless it is that one, skip the refusal; refuse; allow.
NO_LANDLOCK = """
import ctypes, struct
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x00050001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
print("gaps", gaps())
"""
NO_FILTERS = """
import platform
platform.machine = lambda: "another"
print("gaps", gaps())
"""


def tried(tmp_path: Path, before: str = "") -> tuple[dict[str, str], str]:
    """What came of each way, and what was said to be missing."""
    given, made, secret = tmp_path / "given", tmp_path / "made", tmp_path / "data" / "token"
    made.mkdir()
    secret.parent.mkdir()
    for path in (given, secret):
        path.write_text("text")
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [
                *(sys.executable, "-c", PROBE.format(before=before)),
                *map(str, (given, made, secret, server.getsockname()[1])),
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    return lines, lines.pop("gaps", "")


SCOPES = tuple(map(int, platform.release().split(".")[:2])) >= (6, 12)
"""Whether Landlock knows ports and signals here."""
needs_walls = pytest.mark.skipif(
    bool(confinement.gaps()), reason="this system lacks Landlock or filters of system calls"
)


@needs_walls
def test_a_confined_process_reads_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    came, _ = tried(tmp_path)
    done = {"reads", "writes", "renames", "begins_threads"}
    assert {way for way, what in came.items() if what == "done"} == done
    assert set(came.values()) == {"done", "PermissionError"}
    assert (tmp_path / "data" / "token").read_text() == "text"
    assert (tmp_path / "made" / "newer").read_text() == "new"


@needs_walls
def test_without_landlock_it_has_no_network_and_that_is_said(tmp_path: Path) -> None:
    came, gaps = tried(tmp_path, NO_LANDLOCK)
    assert came["looks"] == "done"
    kept = (
        "connects", "sends", "speaks_to_the_broker", "runs", "opens_up", "empties", "signals",
        "queues_signals", "limits", "begins_processes",
    )  # fmt: skip
    assert {came[way] for way in kept} == {"PermissionError"}
    assert "lacks Landlock" in gaps
    assert "system calls" not in gaps


@needs_walls
def test_without_filters_it_sees_no_file_and_that_is_said(tmp_path: Path) -> None:
    came, gaps = tried(tmp_path, NO_FILTERS)
    kept = ("looks", "lists", "removes", *(["connects", "signals"] if SCOPES else []))
    assert {came[way] for way in kept} == {"PermissionError"}
    assert "does not filter system calls" in gaps
    assert "Landlock" not in gaps


def test_a_confined_process_still_finds_the_labs_code() -> None:
    code = "import confinement\nconfinement.confine()\nimport app.settings, imagefile, worker.apart"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "attempt",
    ["os.system('true')", "subprocess.run(['true'])", "os.fork()", "socket.socket()"],
)
def test_a_guard_refuses_python_code_the_network_and_processes(attempt: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import os, socket, subprocess\nfrom confinement import guard\nguard()\n{attempt}",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "PermissionError" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_process_of_several_threads_is_not_confined_in_part() -> None:
    code = (
        "import threading, time, confinement\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "confinement.confine()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "would be confined in part" in done.stderr


ORPHAN = """
import time, confinement
confinement.die_with_parent()
print("ready", flush=True)
time.sleep(99)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {ORPHAN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_it_ends_with_a_worker_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        orphan = Path("/proc", parent.stdout.readline().decode().strip(), "cmdline")
        assert orphan.read_bytes()
        parent.kill()
    until = time.monotonic() + 10
    while orphan.exists() and orphan.read_bytes() and time.monotonic() < until:
        time.sleep(0.05)
    assert not orphan.exists() or not orphan.read_bytes()  # a zombie has no command line
