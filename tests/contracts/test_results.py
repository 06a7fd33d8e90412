"""Shares of images and their intervals, against SciPy and a textbook value."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from app.contracts.params import Method
from app.contracts.results import Accuracy
from app.contracts.results import TestAccuracy as ShareOfTests

counts = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
@example((0, 1))
@example((1, 1))
@example((0, 10_000))
@example((10_000, 10_000))
def test_the_interval_is_scipys_wilson_interval(count: tuple[int, int]) -> None:
    correct, n = count
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    found = Accuracy.of(correct, n)
    assert found.value == correct / n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_eighty_one_of_263() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I: 0.2553 to 0.3662."""
    found = Accuracy.of(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("correct", "n"), [(-1, 3), (4, 3), (0, 0), (1, 0)])
def test_impossible_counts_are_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        Accuracy.of(correct, n)


@pytest.mark.parametrize(
    ("measure", "method"),
    [
        ("clean", None),
        ("PGD-20", Method.PGD),
        ("AutoAttack", Method.AUTOATTACK),
        ("CW-L2-100", Method.CW_L2),
        ("APGD-CE-50", Method.APGD_CE),
        ("PGDX", None),
    ],
)
def test_figures_of_older_cards_know_their_attack(measure: str, method: Method | None) -> None:
    origin = {"id": "0" * 32, "name": "Pets", "sha256": "0" * 64}
    stored = {"measure": measure, "accuracy": Accuracy.of(1, 2).model_dump(), "dataset": origin}
    found = ShareOfTests.model_validate(stored)
    assert found.method is method
    assert ShareOfTests.model_validate_json(found.model_dump_json()) == found
    renamed = found.model_copy(update={"measure": "AutoAttack, ours"})
    assert ShareOfTests.model_validate(renamed.model_dump()).method is method
