"""A way to the broker that fails as networks do: late, refused, reset, or silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Proxy:
    """Passes a TCP port of this machine on to a Unix socket, in a thread of its own."""

    def __init__(self, port: int, socket: str) -> None:
        self._port, self._socket = port, socket
        self._late_s, self._silent = 0.0, False
        self._open: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.up()

    def up(self) -> None:
        """Take connections."""
        self._do(self._listen())

    def down(self) -> None:
        """Refuse connections, and reset those that there are."""
        self._do(self._close())

    def reset(self) -> None:
        """Reset the connections that there are."""
        self._do(self._abort())

    def late(self, seconds: float) -> None:
        """From now on everything arrives so much later, each way."""
        self._late_s = seconds

    def silent(self, silent: bool) -> None:
        """Whether new connections are taken and then lead nowhere. Those that lead nowhere never
        will again, and nobody closes them."""
        self._silent = silent
        if silent:
            self._do(self._deaden())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._abort()

    async def _abort(self) -> None:
        for writer in [*self._open]:
            writer.transport.abort()

    async def _deaden(self) -> None:
        self._dead |= self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        pair = {writer, back}
        self._open |= pair
        if self._silent:
            self._dead |= pair
        ways = (self._pass(reader, back), self._pass(there, writer))
        await asyncio.gather(*ways, return_exceptions=True)
        for each in pair:
            each.transport.abort()
        self._open -= pair
        self._dead -= pair

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await asyncio.sleep(self._late_s)
            if writer not in self._dead:
                writer.write(data)
                await writer.drain()
        if writer not in self._dead:
            writer.transport.abort()
