"""Numbers and times as people read them; JSON that stays inside its block."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from app.contracts.results import Accuracy, Mean
from app.web import words


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (-3, "0 s"), (45.4, "45 s"), (89, "89 s"), (90, "2 min"), (180, "3 min"),
        (3569, "59 min"), (3600, "1 h"), (7500, "2 h 5 min"), (86400, "24 h"),
        (3 * 86400, "3 d"), (4 * 86400 + 3 * 3600, "4 d 3 h"),
    ],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert _plain(words.duration(seconds)) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"),
     (5_000_000_000, "5.0 GB"), (7_000_000_000_000, "7000.0 GB")],
)  # fmt: skip
def test_a_size_has_the_unit_that_fits(size: int, text: str) -> None:
    assert _plain(words.size(size)) == text


def test_shares_have_one_decimal_and_their_interval() -> None:
    accuracy = Accuracy.of(710, 1000)  # Wilson: 0.6811 to 0.7372
    assert _plain(words.percent(accuracy.value)) == "71.0 %"
    assert _plain(words.interval(accuracy)) == "68.1–73.7 %"


def test_means_have_half_of_their_interval() -> None:
    mean = Mean(value=0.12345, low=0.11345, high=0.13345, n=9)
    assert _plain(words.spread(mean)) == "0.123 ± 0.010"
    assert _plain(words.share(mean)) == "12.3 ± 1.0 %"


def test_what_is_over_at_once_took_less_than_a_second() -> None:
    assert [_plain(words.took(s)) for s in (0.0, 0.99, 1.2, 200)] == [
        "< 1 s",
        "< 1 s",
        "1 s",
        "3 min",
    ]


def test_times_are_told_from_now() -> None:
    now = datetime.now(UTC)
    assert words.ago(now) == "just now"
    assert words.ago(now + timedelta(minutes=5)) == "just now"
    assert _plain(words.ago(now - timedelta(minutes=3))) == "3 min ago"
    assert words.clock(datetime(2025, 11, 22, 17, 5, tzinfo=UTC)) == "2025-11-22 17:05 UTC"


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_cannot_leave_its_block(value: object) -> None:
    block = words.json_block(value)
    assert isinstance(block, Markup)
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block) == value


def test_json_refuses_what_browsers_cannot_read() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        words.json_block([float("nan")])


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("use `a<b>`, or `c`", "use <code>a&lt;b&gt;</code>, or <code>c</code>"),
        ("<i> no code", "&lt;i&gt; no code"),
        ("one ` alone", "one  alone"),
    ],
)
def test_backticks_become_code(text: str, html: str) -> None:
    assert words.code(text) == html
