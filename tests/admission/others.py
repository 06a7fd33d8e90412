"""Requests by another user of this machine: a child process that gives up its rights."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ANOTHER = 54321


def status_for(uid: int, url: str, path: str = "/api/jobs", *, headers: str = "") -> int:
    """The HTTP status that a process of the user gets."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(uid)
            os.write(writing, _ask(url, path, headers))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return int(answer.split()[1])


def _ask(url: str, path: str, headers: str) -> bytes:
    at = urlsplit(url)
    assert at.hostname is not None
    with socket.socket() as connection:  # by number: what finds names cannot be loaded any more
        connection.settimeout(30)
        connection.connect((at.hostname, at.port or 80))
        request = f"GET {path} HTTP/1.1\r\nHost: {at.netloc}\r\n{headers}Connection: close\r\n\r\n"
        connection.sendall(request.encode())
        return connection.recv(4096)
