"""Other bytes than a parser expects, by chance: where nobody can see what it covers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST = 2**16
"""Bytes of an input."""
_ODD = (b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"9" * 40, b"\n")


def mutated(whole: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the files with one to eight faults in it."""
    data = bytearray(rng.choice(whole))
    for _ in range(rng.randint(1, 8)):
        rng.choice(_FAULTS)(data, whole, rng)
    return bytes(data[:LONGEST])


def _flip(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    first = rng.randrange(len(data) + 1)
    del data[first : first + rng.choice((1, 4, 64, len(data)))]


def _put(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    first, odd = rng.randrange(len(data) + 1), rng.choice(_ODD)
    data[first : first + rng.choice((0, len(odd)))] = odd


def _repeat(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    first = rng.randrange(len(data) + 1)
    data[first:first] = data[first : first + 32] * rng.choice((1, 2, 100))


def _splice(data: bytearray, whole: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(whole)
    first, start = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    data[first:] = other[start:]


_FAULTS: Sequence[Callable[[bytearray, Sequence[bytes], random.Random], None]] = (
    _flip, _cut, _put, _repeat, _splice,
)  # fmt: skip
