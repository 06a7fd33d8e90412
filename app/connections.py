"""Connections that say nothing: closed after a while, and first of all when there are many.

Each takes a descriptor. Where none is left nobody else gets in, and the server writes of it without
end. uvicorn closes those that are silent after an answer, not those that never asked.
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import struct
import termios

from uvicorn.protocols.http.h11_impl import H11Protocol

_HEAD_WITHIN_S = 30.0
"""From the connection, or from the answer before, until all headers of a request are there."""
_MOST_SILENT = 500
_MOMENT_S = 5.0
"""Busy clients connect, and ask later."""


class Connection(H11Protocol):
    """HTTP as uvicorn has it; of the connections that have not asked yet, the one that has been
    silent for longest makes room for the newest.

    A server that is busy accepts many before it reads of any: who has spoken meanwhile is not
    silent, and who has just come not yet.
    """

    _silent: dict[Connection, asyncio.TimerHandle] = {}  # noqa: RUF012 - those of this process
    """The longest silent ones first; each with what will end it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._leave()
        elif self not in self._silent and not self.transport.is_closing():
            self._await_head()  # it made room already, and that was not all it had to say

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._leave()
        self._silent[self] = self.loop.call_later(_HEAD_WITHIN_S, self.transport.abort)
        while self._are_too_many():
            oldest = next(iter(self._silent))
            oldest._leave()  # its end comes later, maybe after others have begun
            if not oldest._has_spoken():
                oldest.transport.abort()

    def _are_too_many(self) -> bool:
        """The silent ones. A crowd that has just come gets a moment to say what it wants, as long
        as requests, streams and files have three quarters of the descriptors."""
        if len(self._silent) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4:
            return True
        longest = _HEAD_WITHIN_S - (next(iter(self._silent.values())).when() - self.loop.time())
        return len(self._silent) > _MOST_SILENT and longest > _MOMENT_S

    def _has_spoken(self) -> bool:
        """Whether something of it waits to be read."""
        waiting = bytearray(struct.calcsize("i"))
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, waiting)
        return any(waiting)

    def _leave(self) -> None:
        """The silent ones."""
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()
