"""Connections that never ask, before a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app import connections
from app.run.supervisor import web_command
from app.settings import Settings

_MOST = 20
Connect = Callable[..., socket.socket]


async def _answer(request: Request) -> PlainTextResponse:
    await asyncio.sleep(float(request.query_params.get("after", 0)))
    return PlainTextResponse("Well.")


async def _hold_up(_: Request) -> PlainTextResponse:
    """Everybody, the server's own loop too."""
    time.sleep(1.0)
    return PlainTextResponse("Done.")


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server as the lab's."""
    monkeypatch.setattr(connections, "_MOST_SILENT", _MOST)
    monkeypatch.setattr(connections, "_MOMENT_S", -1.0)
    monkeypatch.setattr(connections, "_HEAD_WITHIN_S", 1.0)
    command = web_command(Settings())
    config = uvicorn.Config(
        Starlette(routes=[Route("/", _answer), Route("/busy", _hold_up)]),
        port=0,
        log_level="critical",
        http=command[command.index("--http") + 1],
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    """Opens a connection, and says something."""
    with ExitStack() as opened:

        def one(said: bytes = b"") -> socket.socket:
            made = socket.create_connection(("127.0.0.1", port), timeout=10)
            opened.enter_context(made).sendall(said)
            return made

        yield one


def _is_closed(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_of_many_silent_connections_the_oldest_make_room(
    port: int, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEAD_WITHIN_S", 60.0)
    silent = [connect() for _ in range(3 * _MOST)]
    assert httpx.get(f"http://127.0.0.1:{port}/").text == "Well."
    assert all(_is_closed(each, 5) for each in silent[:_MOST])
    assert not _is_closed(silent[-1], 0.05)


@pytest.mark.parametrize("descriptors", [2**16, 4 * _MOST])
def test_a_crowd_gets_a_moment_where_there_is_room(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, descriptors: int
) -> None:
    monkeypatch.setattr(connections, "_MOMENT_S", 2.0)
    monkeypatch.setattr(connections, "_HEAD_WITHIN_S", 60.0)
    monkeypatch.setattr("resource.getrlimit", lambda _: (descriptors, descriptors))
    crowd = [connect() for _ in range(3 * _MOST)]
    is_cut = descriptors < 2**16
    assert _is_closed(crowd[0], 5 if is_cut else 0.5) is is_cut
    if not is_cut:
        time.sleep(2)
        connect()
        assert all(_is_closed(each, 5) for each in crowd[:_MOST]), "that was a moment"
        assert not _is_closed(crowd[-1], 0.05)


def test_who_asks_while_the_server_is_busy_is_not_silent(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts them all at once, and only then reads what they said."""
    monkeypatch.setattr(connections, "_HEAD_WITHIN_S", 60.0)
    head = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    connect(head % b"/busy")
    time.sleep(0.3)
    begun = [connect(head[:20]) for _ in range(_MOST)]
    asking = [connect(head % b"/") for _ in range(3 * _MOST)]
    for each in asking:
        assert each.recv(2**16).startswith(b"HTTP/1.1 200")
    assert not any(_is_closed(each, 0.01) for each in begun)
    more = [connect(head[:20]) for _ in range(_MOST)]
    assert all(_is_closed(each, 5) for each in begun), "they are silent again"
    assert not any(_is_closed(each, 0.01) for each in more)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_a_head_that_never_ends_ends_its_connection(connect: Connect, said: bytes) -> None:
    assert _is_closed(connect(said), 5)


def test_a_second_request_that_never_ends_does_so_too(connect: Connect) -> None:
    head = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    connection = connect(head + b"\r\n")
    answer = b""
    while not answer.endswith(b"Well."):
        answer += connection.recv(2**16)
    connection.sendall(head)
    assert _is_closed(connection, 5)


def test_who_asked_is_waited_for(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            assert client.get("/", params={"after": 1.5}).text == "Well."
