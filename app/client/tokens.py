"""The lab's token, where this machine has it."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx

_PORTS = {"http": 80, "https": 443}
_SOCKETS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Token(httpx.Auth):
    """Shows a token to a lab that asks.

    One that was given goes with every request. That of a data folder belongs to a lab of this
    machine: it goes to no other, and only where it is asked for.

    Args:
        given: By who calls; else LAB_TOKEN, else what lies in LAB_DATA_DIR, `data` by default.
    """

    def __init__(self, given: str | None = None) -> None:
        self._given = given or os.environ.get("LAB_TOKEN")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._given:
            _show(request, self._given)
        answer = yield request
        if answer.status_code != 401 or self._given or request.url.host not in _LOOPBACK:
            return
        if found := _in_folder(request.url.port or _PORTS[request.url.scheme]):
            _show(request, found)
            yield request


def listeners(port: int) -> set[int]:
    """The users whose processes take connections at a port of this machine, as Linux lists them;
    empty on other systems."""
    line = re.compile(rf"\s*\d+: [0-9A-F]+:{port:04X} 0+:0000 0A (?:\S+\s+){{3}}(\d+) ")
    found = set()
    for table in _SOCKETS:
        with suppress(OSError), table.open() as stream:
            found |= {int(known[1]) for known in map(line.match, stream) if known}
    return found


def _show(request: httpx.Request, token: str) -> None:
    request.headers["Authorization"] = f"Bearer {token}"


def _in_folder(port: int) -> str:
    """The token in the data folder; empty where there is none that may be read, or where another
    user's process, and not the folder's owner, is behind the port."""
    folder = Path(os.environ.get("LAB_DATA_DIR") or "data").expanduser()
    with suppress(OSError, UnicodeDecodeError):
        text = (folder / "token").read_text(encoding="ascii").strip()
        known = {0, os.geteuid(), folder.stat().st_uid}
        if text.isprintable() and listeners(port) <= known:
            return text
    return ""
