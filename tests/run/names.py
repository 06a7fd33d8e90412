"""Who knows the addresses of containers, as Docker's own server of names does."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_HEADER = 12
_ANSWER, _UNKNOWN = 0x8180, 0x8183
_POINTER_TO_NAME, _A, _IN, _TTL_S = 0xC00C, 1, 1, 1


@contextmanager
def answering(addresses: Mapping[str, Sequence[str]], at: str = "127.0.0.1") -> Iterator[str]:
    """Answers with the addresses there are at the moment. Gives its own, with a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((at, 0))
        thread = threading.Thread(target=_serve, args=(server, addresses), daemon=True)
        thread.start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()


def _serve(server: socket.socket, addresses: Mapping[str, Sequence[str]]) -> None:
    while True:
        asked, who = server.recvfrom(512)
        if not asked:
            return
        name, question = _asked(asked)
        found = addresses.get(name, ())
        code = _ANSWER if found else _UNKNOWN
        head = asked[:2] + struct.pack("!5H", code, 1, len(found), 0, 0)
        fixed = struct.pack("!HHHIH", _POINTER_TO_NAME, _A, _IN, _TTL_S, 4)
        records = b"".join(fixed + socket.inet_aton(each) for each in found)
        server.sendto(head + question + records, who)


def _asked(packet: bytes) -> tuple[str, bytes]:
    """The name that a question is about, and the question."""
    labels, at = [], _HEADER
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), packet[_HEADER : at + 5]
