"""Attempts and requests that become slow: so many a while for each name, address and user."""

from __future__ import annotations

import ipaddress
import threading
import time

_MOST_KEYS = 10_000
WHILE_S = 900.0
OF_A_NAME, OF_AN_ADDRESS = 10, 40
"""Failures to sign in in that while. Who guesses from many addresses meets the first, who guesses
many names the second."""

Limit = tuple[str, int]
"""A key, and how often it may be used in the while."""


class Buckets:
    """Counts what is used of each key.

    A key holds how much is used up, and since when; it comes back evenly over the while. Of too
    many keys those that were used longest ago go.
    """

    def __init__(self, while_s: float) -> None:
        self._while_s = while_s
        self._used: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, *limits: Limit) -> int | None:
        """Use each once; None, or after how many seconds all of them can be used again."""
        now = time.monotonic()
        with self._lock:
            used = {key: self._left(key, most, now) for key, most in limits}
            waits = [
                (used[key] + 1 - most) * self._while_s / most
                for key, most in limits
                if used[key] + 1 > most
            ]
            if waits:
                return int(max(waits)) + 1
            self._set({key: count + 1 for key, count in used.items()}, now)
        return None

    def give_back(self, *limits: Limit) -> None:
        """One use of each was none."""
        now = time.monotonic()
        with self._lock:
            self._set({key: max(0.0, self._left(key, most, now) - 1) for key, most in limits}, now)

    def used(self, limit: Limit) -> float:
        """How much of a key is used up now."""
        with self._lock:
            return self._left(*limit, time.monotonic())

    def _left(self, key: str, most: int, now: float) -> float:
        count, since = self._used.get(key, (0.0, now))
        return max(0.0, count - (now - since) * most / self._while_s)

    def _set(self, counts: dict[str, float], now: float) -> None:
        for key, count in counts.items():
            self._used.pop(key, None)
            if count:
                self._used[key] = (count, now)
        while len(self._used) > _MOST_KEYS:
            del self._used[next(iter(self._used))]


class Throttle:
    """Counts attempts to sign in; those that succeed are taken back."""

    def __init__(self, attempts: Buckets | None = None) -> None:
        """`attempts`: of a while of `WHILE_S`; else they are counted here alone."""
        self._attempts = attempts or Buckets(WHILE_S)

    def take(self, name: str, address: str) -> int | None:
        """Take an attempt; None, or after how many seconds the next one may be made."""
        return self._attempts.take(*_limits(name, address))

    def give_back(self, name: str, address: str) -> None:
        """The attempt was none to guess."""
        self._attempts.give_back(*_limits(name, address))


def _limits(name: str, address: str) -> tuple[Limit, Limit]:
    return (f"name {name}", OF_A_NAME), (f"from {_network(address)}", OF_AN_ADDRESS)


def _network(address: str) -> str:
    """Of IPv6 the part that one customer gets."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((known, 64), strict=False)) if known.version == 6 else address


class Rate:
    """How many requests of each user a minute the lab answers."""

    def __init__(self, most: int, minute: Buckets | None = None) -> None:
        """`minute`: of a while of 60 s; else requests are counted here alone."""
        self.most = most
        self._minute = minute or Buckets(60.0)

    def take(self, user_id: str) -> int | None:
        """Take a request; None, or after how many seconds the next one is answered."""
        return self._minute.take((user_id, self.most))

    def used(self, user_id: str) -> int:
        """Requests that have not come back yet."""
        return round(self._minute.used((user_id, self.most)))
