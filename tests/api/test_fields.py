"""The reading of a JSON body: each key once, whatever the number of keys."""

from __future__ import annotations

import json

import pytest

from app.api.fields import named_once
from app.errors import InvalidFields


class Counted(str):
    """A key that counts how often it is compared with another one."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        type(self).comparisons += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_keys_that_differ_are_an_object() -> None:
    assert named_once([("a", 1), ("b", [2])]) == {"a": 1, "b": [2]}


@pytest.mark.parametrize("body", ['{"a": 1, "b": 2, "a": 1}', '{"x": {"b": 2, "a": 1, "a": 3}}'])
def test_a_key_that_appears_twice_is_named_at_any_depth(body: str) -> None:
    with pytest.raises(InvalidFields) as raised:
        json.loads(body, object_pairs_hook=named_once)
    assert raised.value.errors == (("a", "appears twice"),)


def test_a_repeated_key_is_found_with_few_comparisons_among_many() -> None:
    keys = [Counted(f"key {number}") for number in range(2_000)]
    Counted.comparisons = 0
    with pytest.raises(InvalidFields, match="key 1999: appears twice"):
        named_once([(key, None) for key in (*keys, Counted("key 1999"))])
    # Keys that differ are compared only where their hashes fall together.
    assert Counted.comparisons < len(keys)
