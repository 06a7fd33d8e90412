"""What a process gives up before it reads a file from outside: files, the network, memory, time.

The standard library alone; it knows neither `app` nor `worker`, which both read such files.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_OWN = ("app", "worker", "confinement.py", "imagefile.py", "journal.py")
_NEEDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
_SYSTEM = (
    "/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/bus/pci/devices", "/sys/devices",
)  # fmt: skip
"""What any program reads: libraries, and what machine it is on."""
_FORBIDDEN = re.compile(
    r"socket\.|subprocess\.|os\.(exec|fork|forkpty|posix_spawn|spawn|system|startfile)|"
    r"pty\.|urllib\.|ctypes\.dlopen"
)

# Landlock, as linux/landlock.h has it. The calls have these numbers on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_FILE_RIGHTS = {0: 0, 1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights on files a version knows; 16 from the fifth on."""
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE, _TRUNCATE = (
    1 << bit for bit in (1, 2, 3, 4, 5, 7, 8, 14)
)
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _TRUNCATE
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The rights that mean something on what is no folder."""
_TCP, _OUTSIDE = 0b11, 0b11
"""To bind and to connect, from version 4 on; abstract sockets and signals, from version 6 on."""

# Seccomp, as linux/seccomp.h, linux/audit.h and asm/unistd.h have it.
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER, _DIES_WITH_PARENT = 38, 22, 2, 1  # of prctl
_GET_SECCOMP = 21
_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _ABSENT = 0x7FFF0000, 0x00050001, 0x00050026  # EPERM, ENOSYS
_CALLS = {
    # socket, io_uring_setup; execve, execveat; ptrace, process_vm_readv, process_vm_writev; keyctl;
    # truncate, which the first versions of Landlock leave open; chmod, fchmod, fchmodat, fchmodat2;
    # chown, fchown, lchown, fchownat; kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo,
    # pidfd_send_signal; fork, vfork
    "x86_64": (
        0xC000003E,
        (
            *(41, 425, 59, 322, 101, 310, 311, 250, 76, 90, 91, 268, 452, 92, 93, 94, 260),
            *(62, 200, 234, 129, 297, 424, 57, 58),
        ),
        56,
        302,
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 425, 221, 281, 117, 270, 271, 219, 45, 52, 53, 452, 54, 55),
            *(129, 130, 131, 138, 240, 424),
        ),
        220,
        261,
    ),
}
"""By processor: what the kernel calls it, the numbers of the calls that are refused, that of clone,
by which threads begin, and processes, and that of prlimit64, which limits this process or others.
"""
_CLONE3, _THREAD = 435, 0x10000
"""clone3 says elsewhere in memory what it is to begin, where no filter looks; libraries use clone
where there is none."""
_OTHER_CALLS = 0x40000000
"""Numbers from here on are those of x32, a second way into the kernel of x86_64."""
_CAPABILITIES = 0x20080522


def confine(reads: Iterable[Path] = (), writes: Iterable[Path] = ()) -> None:
    """Keep this process from all files but its code and these, the network, and other processes.

    To be called while it has one thread, and before anything from outside is read; there is no way
    back. Where the kernel lacks something, that is left out: `gaps` says what.

    Args:
        reads: files and folders that it may read.
        writes: folders that it may write to, too.
    """
    if sys.platform != "linux":
        return
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"a process of {threads} threads would be confined in part")
    libc = ctypes.CDLL(None)
    libc.capset(struct.pack("Ii", _CAPABILITIES, 0), bytes(24))  # none, also as root
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if _landlock():
        _hide_files(libc, reads, writes)
    if _filters():
        _refuse_calls(libc)


def environment() -> dict[str, str]:
    """The variables that such a process gets: it can read them, and the others may be passwords.
    numpy's threads would be outside of the walls."""
    needed = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    return needed | {"OMP_NUM_THREADS": "1"}


def die_with_parent() -> None:
    """End when the thread that started this process does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, 9, 0, 0, 0)


@contextmanager
def killed_after(seconds: float, kill: Callable[[], None]) -> Iterator[None]:
    """Talk to a confined process, which is killed where that takes longer.

    Raises TimeoutError then; EOFError and OSError where it has ended by itself.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        kill()

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    except (EOFError, OSError) as error:
        if late.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
        timer.join()
    if late.is_set():
        raise TimeoutError


def gaps() -> tuple[str, ...]:
    """What `confine` cannot keep from a process on this system, a sentence each."""
    found = []
    if not _landlock():
        found.append(
            "This system lacks Landlock (Linux 5.13): processes that read files from outside see "
            "every file that the lab sees."
        )
    if not _filters():
        found.append(
            "This system does not filter system calls: processes that read files from outside are "
            "kept from the network by checks in Python alone."
        )
    return tuple(found)


def _landlock() -> int:
    """The kernel's version of it; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    version: int = ctypes.CDLL(None).syscall(
        _CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION
    )
    return max(0, version)


def _filters() -> bool:
    if sys.platform != "linux" or platform.machine() not in _CALLS or sys.maxsize < 2**32:
        return False
    return bool(ctypes.CDLL(None).prctl(_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def _hide_files(libc: ctypes.CDLL, reads: Iterable[Path], writes: Iterable[Path]) -> None:
    version = _landlock()
    known = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    tcp, outside = _TCP if version >= 4 else 0, _OUTSIDE if version >= 6 else 0
    rules = struct.pack("QQQ", known, tcp, outside)
    ruleset = libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    _insist(ruleset, "Landlock's rules")
    try:
        for path in (*_code(), *reads):
            _permit(libc, ruleset, path, _READ & known)
        for path in writes:
            _permit(libc, ruleset, path, _WRITE & known)
        _insist(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)


def _code() -> Iterator[Path]:
    """What any process reads: interpreter, libraries, this code. Not the folder that it lies in,
    which may hold the data folder as well."""
    yield from map(Path, (*_SYSTEM, sys.prefix, sys.base_prefix))
    yield from (_HERE / name for name in _OWN)
    yield from (Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages"))


def _permit(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        of_path = rights if path.is_dir() else rights & _OF_FILES
        rule = struct.pack("=Qi", of_path, opened)
        _insist(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"a rule for {path}")
    finally:
        os.close(opened)


def _refuse_calls(libc: ctypes.CDLL) -> None:
    """A program of the kernel's filter machine: what is checked, and how far to skip if so, and if
    not."""
    processor, numbers, clone, prlimit = _CALLS[platform.machine()]
    checks = len(numbers)
    steps = [
        (_LOAD, 0, 0, 4),  # which processor's calls
        (_EQUAL, 0, checks + 10, processor),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, checks + 8, 0, _OTHER_CALLS),
        *((_EQUAL, checks + 7 - at, 0, number) for at, number in enumerate(numbers)),
        (_EQUAL, 8, 0, _CLONE3),
        (_EQUAL, 0, 2, clone),
        (_LOAD, 0, 0, 16),  # its first argument: what is begun
        (_HAS, 3, 4, _THREAD),
        (_EQUAL, 0, 2, prlimit),
        (_LOAD, 0, 0, 16),  # whose limits; 0 for its own
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ABSENT),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    _insist(libc.prctl(_SECCOMP, _FILTER, program, 0, 0), "the filter of system calls")


def _insist(returned: int, what: str) -> None:
    """A wall that the kernel has and does not put up is no reason to go on."""
    if returned < 0:
        raise OSError(f"the system refuses {what}")


def limit(megabytes: int, seconds: int) -> None:
    """Bound memory on top of what is mapped by now, time on the processor, and files."""
    limit_memory(megabytes)
    # The first ends the process by SIGXCPU, which says why; the second would by SIGKILL.
    _bound(resource.RLIMIT_CPU, seconds, seconds + 1)


def limit_memory(megabytes: int) -> None:
    """Bound memory on top of what is mapped by now, and files, for as long as the process lives."""
    more = megabytes * 2**20
    for kind, most in (
        (resource.RLIMIT_AS, _mapped() + more),
        (resource.RLIMIT_FSIZE, more),
        (resource.RLIMIT_CORE, 0),
    ):
        _bound(kind, most, most)


def allow_memory(megabytes: int) -> None:
    """Bound it anew, on top of what is mapped by now; never beyond what was bounded before."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    _bound(resource.RLIMIT_AS, _mapped() + megabytes * 2**20, most)


def _mapped() -> int:
    """Bytes of addresses in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _bound(kind: int, soft: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (min(soft, bound), bound))


def guard() -> None:
    """From now on no network and no further process, whatever asks for them in Python."""
    sys.addaudithook(_refuse)


def _refuse(event: str, _: Any) -> None:
    if _FORBIDDEN.match(event):
        raise PermissionError(f"a file that is read has no business with {event}")
