"""A wire that is long and loses a little: what `tc netem` does, for kernels without it.

    python -m bench.hosts.wire NEAR FAR DELAY_S LOSS      in the namespace of the switch

Makes two taps and carries every frame from one to the other, later by `DELAY_S` and in order, but
for the share `LOSS` of them, which it drops. Says so when the taps are there, and ends by a signal.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

_SET_INTERFACE, _TAP, _BARE = 0x400454CA, 0x0002, 0x1000
_LONGEST = 1 << 16
_MOST = 10_000
"""Frames on the way; a real one has such a limit, too."""


def tap(name: str) -> int:
    """A new interface, as a file of its frames."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, _SET_INTERFACE, struct.pack("16sH22x", name.encode(), _TAP | _BARE))
    return file


def main(near: str, far: str, delay_s: float, loss: float) -> None:
    """Does not return."""
    one, other = tap(near), tap(far)
    print("ready", flush=True)
    chance, across = random.Random(0), {one: other, other: one}
    on_the_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait_s = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for file in select.select([one, other], [], [], wait_s)[0]:
            try:
                frame = os.read(file, _LONGEST)
            except OSError:  # its interface is down yet
                time.sleep(0.001)
                continue
            if len(on_the_way) < _MOST and chance.random() >= loss:
                on_the_way.append((time.monotonic() + delay_s, across[file], frame))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, file, frame = on_the_way.popleft()
            try:
                os.write(file, frame)
            except OSError:  # the interface takes none now
                continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
