"""The short form of `make fuzz`: whole files are taken, damaged ones refused in words, in time."""

from __future__ import annotations

import random
import time

import pytest

from bench.fuzz.mutations import LONGEST, mutated
from bench.fuzz.parsers import PARSERS

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
