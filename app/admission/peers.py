"""Whose process is at the other end of a connection of this machine, as Linux lists it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import struct
from pathlib import Path

Address = tuple[str, int]

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_MOST_BYTES = 2**24
"""Of a table; a hundred thousand connections fit."""
_MOST_KNOWN = 4096
_ESTABLISHED = "01"
"""Ends that were closed are listed too, as root's, whoever closed them."""
_UID = 6
"""The column of the user, counted from that of the near end."""
_LINE = 200
_NOBODY = 65534
"""Stands for every user that the container around the lab does not know."""


def can_be_known() -> bool:
    """Whether this system lists its connections with their users."""
    return TABLES[0].exists()


def _listed(tables: tuple[bytes, ...], client: Address, server: Address) -> int | None:
    try:
        both = (ipaddress.ip_address(client[0]), ipaddress.ip_address(server[0]))
    except ValueError:
        return None
    needles = [_needle(both, client[1], server[1], mapped=False)]
    if both[0].version == 4:
        needles.append(_needle(both, client[1], server[1], mapped=True))
    for text in tables:
        for needle in needles:
            if (at := text.find(needle)) >= 0:
                return _uid(text, at)
    return None


def _uid(text: bytes, at: int) -> int:
    """The user in a line of a table; `at`: where its near end begins."""
    return int(text[at : at + _LINE].split()[_UID])


def _needle(
    both: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
    client_port: int,
    server_port: int,
    *,
    mapped: bool,
) -> bytes:
    """The columns of a line up to its state. An IPv6 socket can speak IPv4; it is in IPv6's table,
    under a mapped address."""
    client, server = (
        _in_hexadecimal((b"\0" * 10 + b"\xff\xff" if mapped else b"") + address.packed)
        for address in both
    )
    return f" {client}:{client_port:04X} {server}:{server_port:04X} {_ESTABLISHED} ".encode()


def _in_hexadecimal(packed: bytes) -> str:
    """As the kernel prints it: words of 32 bits, in the machine's own order of bytes."""
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))


def _read(table: Path) -> bytes:
    try:
        with table.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError:
        return b""


class Peers:
    """Remembers, for as long as a connection lives, whether it is the owner's.

    A server gives all requests of a connection the same object as their client's address. Being
    kept here, it is nobody else's, so that a later connection from the same port is another one.
    """

    def __init__(self) -> None:
        self._known: dict[Address, tuple[Address, int]] = {}
        self._trusted = {0, os.geteuid()} - {_NOBODY}
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[tuple[bytes, ...]] | None = None

    async def is_owner(self, client: Address | None, server: tuple[str, int | None] | None) -> bool:
        """Whether the client is a process of the lab's own user, or of root."""
        if client is None or server is None or server[1] is None:
            return False  # a socket without ports
        known = self._known.get(client)
        if known is None or known[0] is not client:
            uid = await self.uid_of(client, (server[0], server[1]))
            if uid is None:
                return False
            while len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            known = self._known[client] = (client, uid)
        return known[1] in self._trusted

    async def uid_of(self, client: Address, server: Address) -> int | None:
        """The user whose process holds the client's end of an open connection; None where none is
        listed."""
        for _ in range(2):  # what changes while it is read can be left out once
            uid = _listed(await self._read_tables(), client, server)
            if uid is not None:
                return uid
        return None

    async def _read_tables(self) -> tuple[bytes, ...]:
        """As they are from now on. The kernel takes milliseconds for a table, however short: all
        who come while one is read share the next one."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_next())
        return await asyncio.shield(self._next)

    async def _read_next(self) -> tuple[bytes, ...]:
        async with self._one_at_a_time:
            self._next = None
            return await asyncio.to_thread(lambda: tuple(map(_read, TABLES)))
