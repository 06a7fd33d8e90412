"""Whose process gets to see the token of a data folder."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from app.client import tokens
from app.client.tokens import listeners

LINE = (
    "   7: {near} {far} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 "
    "99999 1 0000000000000000 20 4 30 10 -1\n"
)


def test_who_listens_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert listeners(port) == {os.geteuid()}
    assert listeners(port) == set()


def test_every_user_who_listens_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    four, six = tmp_path / "tcp", tmp_path / "tcp6"
    monkeypatch.setattr(tokens, "_SOCKETS", (four, six, tmp_path / "none"))
    nobody, connected = "00000000:0000", "0100007F:9C40"
    four.write_text(
        LINE.format(near="0100007F:1F40", far=nobody, state="0A", uid=1234)
        + LINE.format(near="0100007F:1F40", far=connected, state="01", uid=5)
        + LINE.format(near="0100007F:1F41", far=nobody, state="0A", uid=6)
    )
    every = "0" * 32
    six.write_text(LINE.format(near=f"{every}:1F40", far=f"{every}:0000", state="0A", uid=7))
    assert listeners(8000) == {1234, 7}
