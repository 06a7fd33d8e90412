"""Hosts as network namespaces: an address of its own each, on one switch that nothing else is on.

The addresses exist inside of the namespaces alone. All hosts know each other's hardware addresses,
as machines behind routers need not ask for them: what is sent to one that is cut off vanishes, and
nobody is told.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAMED = "lab-hosts-"
_OWN = f"{_NAMED}{os.getpid()}-"
"""How what this process makes is called: several may at once."""
_SWITCH = f"{_OWN}switch"
_NET, _MASK = "10.77.0", 24
_PLUG, _LAN = "eth0", "lan"


def usable() -> bool:
    """Whether namespaces can be made here: it takes root, and a kernel that lets root do it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "setpriv"))):
        return False
    tried = f"{_OWN}try"
    made = subprocess.run(["ip", "netns", "add", tried], capture_output=True, check=False)
    if made.returncode:
        return False
    tap = ["ip", "-n", tried, "tuntap", "add", "tried", "mode", "tap"]
    bridge = ["ip", "-n", tried, "link", "add", "name", _LAN, "type", "bridge"]
    can = [subprocess.run(each, capture_output=True, check=False) for each in (tap, bridge)]
    _ip("netns", "del", tried)
    return not any(each.returncode for each in can)


def folder() -> Path:
    """Of this process, for what runs on its hosts."""
    return Path(tempfile.gettempdir(), _OWN.rstrip("-"))


def left(whose: str = _OWN) -> list[str]:
    """Namespaces of the network that this process made, or of others."""
    every = Path("/run/netns")
    return sorted(path.name for path in every.glob(f"{whose}*")) if every.is_dir() else []


def clear() -> None:
    """End whatever runs on the network that this process made, and remove it."""
    _remove(left())
    shutil.rmtree(folder(), ignore_errors=True)


def sweep() -> None:
    """The same of processes that have ended, and could not do it."""
    _remove(name for name in left(_NAMED) if not _lives(_maker(name)))
    for path in Path(tempfile.gettempdir()).glob(f"{_NAMED}*"):
        if not _lives(_maker(path.name)):
            shutil.rmtree(path, ignore_errors=True)


def _maker(name: str) -> int:
    return int(name.removeprefix(_NAMED).partition("-")[0])


def _remove(names: Iterable[str]) -> None:
    for name in names:
        _end(name)
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", name)


class Network:
    """Made with its switch; `clear` removes it."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """`hosts`: their names; the first has the lowest address."""
        self._numbers = {name: number for number, name in enumerate(hosts, 1)}
        self._wires: dict[str, subprocess.Popen[bytes] | None] = {}
        _ip("netns", "add", _SWITCH)
        _in(_SWITCH, "link", "add", "name", _LAN, "type", "bridge")
        _in(_SWITCH, "link", "set", "dev", _LAN, "up")
        for host in self._numbers:
            self.add(host)

    def address(self, host: str) -> str:
        return f"{_NET}.{self._numbers[host]}"

    def add(self, host: str) -> None:
        """Plug it in, with nothing running on it."""
        space = _OWN + host
        _ip("netns", "add", space)
        _in(
            _SWITCH,
            "link",
            "add",
            "name",
            host,
            "type",
            "veth",
            "peer",
            "name",
            _PLUG,
            "netns",
            space,
        )
        for device in ("lo", _PLUG):
            _in(space, "link", "set", "dev", device, "up")
        _in(space, "link", "set", "dev", _PLUG, "address", self._hardware(host))
        _in(space, "address", "add", f"{self.address(host)}/{_MASK}", "dev", _PLUG)
        for other in self._numbers.keys() - {host}:
            known = "lladdr", self._hardware(other), "nud", "permanent", "dev", _PLUG
            _in(space, "neighbour", "replace", self.address(other), *known)
        _in(_SWITCH, "link", "set", "dev", host, "master", _LAN, "up")

    def _hardware(self, host: str) -> str:
        return f"02:00:0a:4d:00:{self._numbers[host]:02x}"

    def within(self, host: str, log: Path) -> list[str]:
        """The command by which another runs there, under the host's name, and no longer than this
        process. `log`: what it says goes there."""
        named = f'hostname "$0"; exec "$@" >>{log} 2>&1'
        return [
            "ip", "netns", "exec", _OWN + host,
            "setpriv", "--pdeathsig", "KILL", "unshare", "--uts", "sh", "-c", named, host,
        ]  # fmt: skip

    def enter(self, host: str) -> None:
        """From now on this process and what it starts are there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{_OWN}{host}") as space:
            if libc.setns(space.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {space.name}")

    def cut(self, host: str) -> None:
        """Pull its plug; it does not notice."""
        _in(_SWITCH, "link", "set", "dev", host, "nomaster")

    def heal(self, host: str) -> None:
        _in(_SWITCH, "link", "set", "dev", host, "master", _LAN)

    def slow(self, host: str, delay_s: float, loss: float) -> str:
        """Everything to it and from it takes so much longer, and that share of it is lost; by what:
        the kernel's `netem`, or where it has none a wire of our own."""
        told = ["netem", "delay", f"{1000 * delay_s:.0f}ms", "loss", f"{100 * loss}%"]
        try:
            for space, device in ((_SWITCH, host), (_OWN + host, _PLUG)):
                _run("tc", "-n", space, "qdisc", "add", "dev", device, "root", *told)
            self._wires[host] = None
            return "netem"
        except subprocess.CalledProcessError:
            self._wires[host] = self._wire(host, delay_s, loss)
            return "wire"

    def _wire(self, host: str, delay_s: float, loss: float) -> subprocess.Popen[bytes]:
        ends = near, far = f"{host}-n", f"{host}-f"
        command = [
            "ip", "netns", "exec", _SWITCH, "setpriv", "--pdeathsig", "KILL",
            sys.executable, "-m", "bench.hosts.wire", *ends, str(delay_s), str(loss),
        ]  # fmt: skip
        wire = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert wire.stdout is not None
        wire.stdout.readline()  # the ends are there
        _in(_SWITCH, "link", "add", "name", f"{host}-s", "type", "bridge")
        _in(_SWITCH, "link", "set", "dev", f"{host}-s", "up")
        _in(_SWITCH, "link", "set", "dev", near, "master", f"{host}-s", "up")
        _in(_SWITCH, "link", "set", "dev", far, "master", _LAN, "up")
        _in(_SWITCH, "link", "set", "dev", host, "master", f"{host}-s")
        return wire

    def fast(self, host: str) -> None:
        """As before."""
        wire = self._wires.pop(host)
        if wire is None:
            for space, device in ((_SWITCH, host), (_OWN + host, _PLUG)):
                _run("tc", "-n", space, "qdisc", "del", "dev", device, "root")
        else:
            self.heal(host)
            wire.kill()
            wire.communicate()  # and let go of what it said
            _in(_SWITCH, "link", "del", "dev", f"{host}-s")

    def lose(self, host: str) -> None:
        """It loses its power: first the network, so that nobody hears of the end of anything."""
        self.cut(host)
        _end(_OWN + host)
        _in(_SWITCH, "link", "del", "dev", host)
        _ip("netns", "del", _OWN + host)

    def signal(self, host: str, number: signal.Signals) -> None:
        """To all that runs there."""
        for pid in _running(_OWN + host):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ask(self, host: str, *command: str) -> str:
        """What a command says there."""
        asked = ["ip", "netns", "exec", _OWN + host, *command]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _ip(*command: str) -> None:
    _run("ip", *command)


def _in(space: str, *command: str) -> None:
    _run("ip", "-n", space, *command)


def _running(space: str) -> list[int]:
    """All but this process, which is in one of them."""
    asked = ["ip", "netns", "pids", space]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return sorted({int(pid) for pid in found.stdout.split()} - {os.getpid()})


def _end(space: str) -> None:
    """Until nothing runs there; who was started meanwhile, too."""
    while pids := [pid for pid in _running(space) if _lives(pid)]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
