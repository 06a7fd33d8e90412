"""The short form of `make fuzz`: whole files are taken, damaged ones refused in words, in time."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fuzz import __main__ as fuzzing
from bench.fuzz.mutations import LONGEST, mutated
from bench.fuzz.parsers import PARSERS, Parser

_INPUTS = 30
_INPUT_S = 10.0


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.filterwarnings("ignore")
def test_hostile_bytes_are_refused_in_words(name: str) -> None:
    parser, rng = PARSERS[name](), random.Random(7)
    for data in parser.whole:
        assert len(data) <= LONGEST
        parser.read(data)
    for number in range(_INPUTS):
        begin = time.monotonic()
        parser.meet(mutated(parser.whole, rng))
        assert time.monotonic() - begin < _INPUT_S, number


@pytest.fixture
def alarm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_parser_that_makes_a_refusal_of_any_error_is_late_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alarm: None
) -> None:
    def read(_: bytes) -> None:
        try:
            time.sleep(5)
        except Exception as error:
            raise ValueError from error

    monkeypatch.setattr(fuzzing, "_INPUT_S", 1)
    with pytest.raises(SystemExit, match="more than 1 s"):
        fuzzing._feed_by_chance(Parser(read, (ValueError,), [b""]), tmp_path, 2, 0)
