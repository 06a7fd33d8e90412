"""Paired statistics against scipy, textbook examples, and what they promise."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.services.paired import Table, difference, holm, mcnemar

COUNTS = st.integers(0, 60)
TABLES = st.builds(Table, COUNTS, COUNTS, COUNTS, COUNTS).filter(lambda table: sum(table) > 0)


def test_counts_of_a_table() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 0, 0], bool)
    assert Table.of(first, second) == Table(both=1, only_first=3, only_second=1, neither=2)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    ours = mcnemar(b, c)
    if b + c == 0:
        assert ours == 1
        return
    assert ours == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-12)
    tail = sum(comb(b + c, i) for i in range(min(b, c) + 1))
    assert ours == float(min(Fraction(1), Fraction(2 * tail, 2 ** (b + c))))


@pytest.mark.parametrize(
    ("b", "c"), [(5000, 5200), (13_000, 13_300), (499_000, 501_000), (3, 1040), (0, 1074)]
)
def test_mcnemar_on_many_images(b: int, c: int) -> None:
    assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c, 0.5).pvalue, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_the_textbook_example() -> None:
    """Airway hyper-responsiveness before and after a transplantation, 21 children (Bentur et al.).

    Fagerland, Lydersen and Laake (Stat. Med. 33, 2014) give 1, 1, 7 and 12 children, p = 0.0703 and
    Newcombe's interval as -0.507 to -0.026 for the share before minus after.
    """
    table = Table(both=1, only_first=7, only_second=1, neither=12)
    d = difference(table)
    assert d.value == pytest.approx(-6 / 21)
    assert (d.low, d.high) == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert mcnemar(table.only_first, table.only_second) == pytest.approx(0.0703, abs=5e-5)


@given(TABLES)
def test_the_interval_holds_the_difference_and_stays_in_range(table: Table) -> None:
    d = difference(table)
    assert -1 - 1e-12 <= d.low <= d.value <= d.high <= 1 + 1e-12
    assert d.low < d.high


@given(TABLES)
def test_the_second_minus_the_first_is_the_negative_of_the_other(table: Table) -> None:
    there = difference(table)
    back = difference(Table(table.both, table.only_second, table.only_first, table.neither))
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )


def test_agreement_on_every_image_is_no_proof_of_equality() -> None:
    d = difference(Table(50, 0, 0, 0))
    assert d.value == 0
    assert d.low == pytest.approx(-0.0713, abs=1e-3)  # Wilson's bound at 50 of 50, 0.9287
    narrow = difference(Table(25, 0, 0, 25))
    assert narrow.high < 0.06, "correlated records tell more"


@pytest.mark.parametrize("shares", [(0.3, 0.1, 0.1, 0.5), (0.4, 0.15, 0.05, 0.4),
                                    (0.05, 0.02, 0.12, 0.81), (0.9, 0.05, 0.03, 0.02)])  # fmt: skip
@pytest.mark.parametrize("n", [50, 1000])
def test_the_interval_covers_the_truth_19_times_of_20(shares: tuple[float, ...], n: int) -> None:
    """4,000 draws: three standard errors of a coverage of 95 % are 1 point.

    With few images that differ it covers more than it promises, never less.
    """
    truth = shares[2] - shares[1]
    drawn = np.random.default_rng(n).multinomial(n, shares, size=4000)
    intervals = [difference(Table(*map(int, table))) for table in drawn]
    covered = sum(d.low <= truth <= d.high for d in intervals) / len(intervals)
    assert covered >= 0.94
    assert covered <= 0.96 or n == 50


def test_holm_by_hand() -> None:
    assert holm([]) == []
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and never less after.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    """The procedure as Holm wrote it: step down while the k-th smallest is at most a / (m - k)."""
    adjusted = holm(p_values)
    m = len(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected = 0
        for k, p in enumerate(sorted(p_values)):
            if (m - k) * p > level:
                break
            rejected += 1
        assert sum(p <= level for p in adjusted) == rejected
    for (p, a), (q, b) in product(zip(p_values, adjusted, strict=True), repeat=2):
        assert a <= b if p < q else True
