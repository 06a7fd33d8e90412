"""The owner's token: a file in the data folder, and the cookies that browsers get for it."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

_FILE = "token"
_SHORTEST = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def token_file(folder: Path) -> Path:
    """Where the token of a data folder lies."""
    return folder / _FILE


def kept_token(folder: Path) -> str:
    """The token in a data folder, made at the first start. One that others could read, or that is
    too short for one, is made anew. Raises OSError."""
    path = token_file(folder)
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="ascii", errors="replace").strip()
        if not path.stat().st_mode & _OTHERS and len(text) >= _SHORTEST and text.isascii():
            return text
        path.unlink()
    token = secrets.token_urlsafe(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"{token}\n")
    return token


class OwnersToken:
    """Tells the token, and the cookies that were given for it.

    A cookie says until when it holds, under a signature that only this token makes: nothing is
    kept about it, and with another token none of them holds.

    Args:
        lifetime_s: Of a cookie.
    """

    def __init__(self, token: str, lifetime_s: int) -> None:
        self._token = token.encode()
        self._lifetime_s = lifetime_s

    def is_it(self, presented: str) -> bool:
        return hmac.compare_digest(self._token, presented.encode(errors="replace"))

    def cookie(self) -> str:
        """A new one."""
        until = f"{time.time() + self._lifetime_s:.0f}"
        return f"{until}.{self._signature(until)}"

    def gave(self, cookie: str) -> bool:
        """Whether a cookie is one of this token's, and not over."""
        until, _, signature = cookie.partition(".")
        signed = hmac.compare_digest(self._signature(until).encode(), signature.encode("latin-1"))
        return signed and float(until) > time.time()

    def _signature(self, until: str) -> str:
        return hmac.new(self._token, b"until " + until.encode("latin-1"), "sha256").hexdigest()
