"""A line between client and server that can be cut: a TCP relay that breaks off on purpose."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_RESET = struct.pack("ii", 1, 0)


class Line:
    """Relays connections to `target`; the n-th breaks after `lengths[n]` bytes of answer.

    Connections after the last length last. `made` counts all of them.
    """

    def __init__(self, target: str, lengths: Sequence[int]) -> None:
        self._to = (urlsplit(target).hostname, urlsplit(target).port)
        self._lengths = list(lengths)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.made = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                left = self._lengths[self.made] if self.made < len(self._lengths) else None
                self.made += 1
                far = socket.create_connection(self._to)
                threading.Thread(target=_copy, args=(near, far, None), daemon=True).start()
                threading.Thread(target=_copy, args=(far, near, left), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, left: int | None) -> None:
    """Copy until one side ends it, or until the line breaks after `left` bytes."""
    with suppress(OSError):
        while data := source.recv(65536):
            if left is not None and len(data) > left:
                target.sendall(data[:left])
                # A reset, as of a machine that is gone, and not an orderly end.
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                break
            target.sendall(data)
            left = None if left is None else left - len(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def line_to(target: str, *lengths: int) -> Iterator[Line]:
    line = Line(target, lengths)
    try:
        yield line
    finally:
        line.close()
