"""Failures that become slow: so many a while for each name and each address."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterable

_MOST_KEYS = 10_000
WHILE_S = 900.0
OF_A_NAME, OF_AN_ADDRESS = 10, 40
"""Failures in that while. Who guesses from many addresses meets the first, who guesses many names
the second."""


class Throttle:
    """Counts attempts; those that succeed are taken back.

    Each key holds how many are used up, and since when; they come back evenly over the while. Of
    too many keys those that were used longest ago go.
    """

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, address: str) -> int | None:
        """Take an attempt; None, or after how many seconds the next one may be made."""
        now = time.monotonic()
        with self._lock:
            keys = _keys(name, address)
            used = {key: self._left(key, most, now) for key, most in keys}
            waits = [
                (used[key] + 1 - most) * WHILE_S / most for key, most in keys
                if used[key] + 1 > most
            ]  # fmt: skip
            if waits:
                return int(max(waits)) + 1
            self._set({key: count + 1 for key, count in used.items()}, now)
        return None

    def give_back(self, name: str, address: str) -> None:
        """The attempt was none to guess."""
        now = time.monotonic()
        with self._lock:
            keys = _keys(name, address)
            self._set({key: max(0.0, self._left(key, most, now) - 1) for key, most in keys}, now)

    def _left(self, key: str, most: int, now: float) -> float:
        count, since = self._used.get(key, (0.0, now))
        return max(0.0, count - (now - since) * most / WHILE_S)

    def _set(self, counts: dict[str, float], now: float) -> None:
        for key, count in counts.items():
            self._used.pop(key, None)
            if count:
                self._used[key] = (count, now)
        while len(self._used) > _MOST_KEYS:
            del self._used[next(iter(self._used))]


def _keys(name: str, address: str) -> Iterable[tuple[str, int]]:
    return [(f"name {name}", OF_A_NAME), (f"from {_network(address)}", OF_AN_ADDRESS)]


def _network(address: str) -> str:
    """Of IPv6 the part that one customer gets."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address
