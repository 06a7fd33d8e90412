"""Whose process is at the other end of a connection."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.admission import peers
from app.admission.peers import Address, Peers

CLIENT, SERVER = ("127.0.0.1", 40_000), ("127.0.0.1", 8000)
ENDS = {"client": "0100007F:9C40", "server": "0100007F:1F40"}
MAPPED = {name: f"0000000000000000FFFF0000{end}" for name, end in ENDS.items()}
STRANGER, OWN = 1234, os.geteuid()


def line(near: str, far: str, state: str, uid: int) -> str:
    return (
        f"   7: {near} {far} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 "
        "99999 1 0000000000000000 20 4 30 10 -1"
    )


def its(state: str, uid: int, ends: dict[str, str] = ENDS) -> str:
    return line(ends["client"], ends["server"], state, uid)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Those of the system, with nothing in them."""
    found = tmp_path / "tcp", tmp_path / "tcp6"
    for table in found:
        table.write_text("  sl  local_address rem_address   st …\n")
    monkeypatch.setattr(peers, "TABLES", found)
    return found


def add(table: Path, *lines: str) -> None:
    with table.open("a") as stream:
        stream.writelines(f"{each}\n" for each in lines)


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a real one: the client's and the server's."""
    family, address = request.param
    with socket.socket(family) as listening:
        listening.bind((address, 0))
        listening.listen()
        with socket.socket(family) as client:
            client.connect(listening.getsockname()[:2])
            with listening.accept()[0] as server:
                yield client, server


def uid_of(client: Address, server: Address) -> int | None:
    return asyncio.run(Peers().uid_of(client, server))


def names(connection: tuple[socket.socket, socket.socket]) -> tuple[Address, Address]:
    client, server = (end.getsockname()[:2] for end in connection)
    return client, server


def test_a_real_connection_is_its_users(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    client, server = names(connection)
    assert uid_of(client, server) == OWN
    assert uid_of((client[0], client[1] - 1), server) is None
    connection[0].close()
    assert uid_of(client, server) is None, "an end that is closed would be listed as root's"


def test_one_that_speaks_ipv4_through_an_ipv6_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_INET6) as end:
        port = listening.getsockname()[1]
        end.connect(("::ffff:127.0.0.1", port))
        assert uid_of(("127.0.0.1", end.getsockname()[1]), ("127.0.0.1", port)) == OWN


@pytest.mark.parametrize(
    "lines",
    [
        [its("06", 0)],  # TIME_WAIT, FIN_WAIT1, SYN_RECV: listed without their user
        [its("04", 0)],
        [its("03", 0)],
        [line(ENDS["server"], ENDS["client"], "01", OWN)],  # the lab's own end
        [line(ENDS["client"], "0100007F:1F41", "01", OWN)],  # to another port
        [its("01", STRANGER), its("06", OWN)],
        [],
    ],
)
def test_who_is_not_the_owner(tables: tuple[Path, Path], lines: list[str]) -> None:
    add(tables[0], *lines)
    assert not asyncio.run(Peers().is_owner(CLIENT, SERVER))


@pytest.mark.parametrize(("table", "ends"), [(0, ENDS), (1, MAPPED)])
def test_who_is(tables: tuple[Path, Path], table: int, ends: dict[str, str]) -> None:
    add(tables[table], its("01", OWN, ends))
    assert uid_of(CLIENT, SERVER) == OWN
    assert asyncio.run(Peers().is_owner(CLIENT, SERVER))


def test_many_who_come_at_once_share_what_is_read_after_they_came(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was being read when a connection was made may lack it."""
    read, reads = peers._read, []

    def slow(table: Path) -> bytes:
        text = read(table)
        reads.append(table)
        time.sleep(0.1)
        return text

    monkeypatch.setattr(peers, "_read", slow)
    clients = [("127.0.0.1", port) for port in range(41_000, 41_200)]

    async def come() -> list[bool]:
        known = Peers()
        early = asyncio.create_task(known.is_owner(("127.0.0.1", 40_999), SERVER))
        await asyncio.sleep(0.05)
        ends = [f"0100007F:{port:04X}" for _, port in clients]
        add(tables[0], *(line(end, ENDS["server"], "01", OWN) for end in ends))
        found = await asyncio.gather(*(known.is_owner(client, SERVER) for client in clients))
        assert not await early
        return found

    assert asyncio.run(come()) == [True] * 200
    assert len(reads) <= 3 * len(tables)


@pytest.mark.parametrize("address", [None, ("testclient", 1), ("", 0)])
def test_an_address_that_is_none_is_nobodys(address: Address | None) -> None:
    assert not asyncio.run(Peers().is_owner(address, SERVER))
    assert not asyncio.run(Peers().is_owner(CLIENT, address))


def test_a_user_whom_a_container_does_not_know_is_not_trusted(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every such user is listed as 65534, even where the lab runs as that."""
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    add(tables[0], its("01", 65534))
    assert not asyncio.run(Peers().is_owner(CLIENT, SERVER))


def test_a_connection_is_looked_up_once_and_the_next_from_its_port_again(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_MOST_KNOWN", 2)
    add(tables[0], its("01", OWN))
    known, first = Peers(), ("127.0.0.1", 40_000)
    assert asyncio.run(known.is_owner(first, SERVER))
    tables[0].write_text(its("01", STRANGER))
    assert asyncio.run(known.is_owner(first, SERVER))
    second = ("127.0.0.1", int("40000"))
    assert second is not first
    assert not asyncio.run(known.is_owner(second, SERVER))
    for port in range(41_000, 41_010):
        end = f"0100007F:{port:04X}"
        tables[0].write_text(line(end, ENDS["server"], "01", OWN))
        assert asyncio.run(known.is_owner(("127.0.0.1", port), SERVER))
    assert len(known._known) == 2
