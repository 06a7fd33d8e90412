"""Statistics of two models on the same images: difference, interval, McNemar's test, Holm.

For each image the first is right or wrong, and the second too. With n images, of which b are right
for the first alone and c for the second alone, p2 - p1 = (c - b) / n; images on which both agree
say nothing about who is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from app.contracts.results import Accuracy

_BITS = 1200
"""Of the fixed point below: more than the smallest positive double (2^-1074) needs."""


class Table(NamedTuple):
    """How many images are right for both, for one alone, for neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Self:
        """Counts two records (N,) of the same images."""
        assert first.shape == second.shape
        return cls(
            int((first & second).sum()),
            int((first & ~second).sum()),
            int((~first & second).sum()),
            int((~first & ~second).sum()),
        )


class Difference(NamedTuple):
    """Second minus first, as a share of images, with its 95 % interval."""

    value: float
    low: float
    high: float


def difference(table: Table) -> Difference:
    """The paired difference with Newcombe's interval (Stat. Med. 17, 1998, method 10).

    Wilson's intervals (l1, u1) and (l2, u2) of both shares are put together by

        low  = d - sqrt((p2 - l2)^2 - 2 phi (p2 - l2) (u1 - p1) + (u1 - p1)^2)
        high = d + sqrt((u2 - p2)^2 - 2 phi (u2 - p2) (p1 - l1) + (p1 - l1)^2)

    with d = p2 - p1 and phi the correlation of the two records, continuity corrected. Unlike Wald's
    interval it stays inside [-1, 1], and has a width where both agree on every image.
    """
    n = sum(table)
    first = Accuracy.of(table.both + table.only_first, n)
    second = Accuracy.of(table.both + table.only_second, n)
    phi = _correlation(table)
    d = (table.only_second - table.only_first) / n
    return Difference(
        value=d,
        low=d - _joined(second.value - second.low, first.high - first.value, phi),
        high=d + _joined(second.high - second.value, first.value - first.low, phi),
    )


def _joined(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _correlation(table: Table) -> float:
    """phi = (AD - BC) / sqrt(product of the margins), its numerator moved n / 2 towards 0 if > 0.

    0 where one of them is right, or wrong, on every image.
    """
    a, b, c, d = table
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    numerator = a * d - b * c
    return (max(0.0, numerator - sum(table) / 2) if numerator > 0 else numerator) / math.sqrt(
        margins
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p: a fair coin for each image on which they differ.

    p = min(1, 2 P(X <= k)), X ~ Binomial(n, 1/2), n = b + c, k = min(b, c)  (McNemar, 1947).

    The terms C(n, i) are taken relative to the central one in integers of 1200 bits, so p is right
    to the last digit wherever a double can hold it, and the time grows with sqrt(n).
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if 2 * k == n:
        return 1.0
    term = central = 1 << _BITS
    half = tail = 0  # sums of C(n, i) / C(n, n // 2) over i <= n // 2 and over i <= k
    for i in range(n // 2, -1, -1):
        half += term
        tail += term if i <= k else 0
        term = term * i // (n - i + 1)
        if term == 0:
            break
    total = 2 * half - (central if n % 2 == 0 else 0)
    return min(1.0, 2 * tail / total)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p for several tests at once (Holm, 1979), in the order given.

    Calling those below 0.05 differences makes a false call among all tests at most 5 % likely,
    however the tests depend on each other.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
