"""Names of attacks and choices as people read them."""

from __future__ import annotations

import pytest

from app.contracts import words
from app.contracts.options import Option
from app.contracts.params import Attack, Goal, Method, Norm


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (Attack(), "PGD-20"),
        (Attack(restarts=5), "PGD-20, 5 restarts"),
        (Attack(method=Method.FGSM), "FGSM"),
        (Attack(method=Method.APGD_CE, steps=100), "APGD-CE, 100 steps"),
    ],
)
def test_an_attack_says_what_it_spends(attack: Attack, text: str) -> None:
    assert words.attack(attack) == text


@pytest.mark.parametrize("kind", [Method, Norm, Goal])
def test_every_choice_has_a_name_of_its_own(kind: type[Option]) -> None:
    names = [member.record.title for member in kind]
    assert len(set(names)) == len(names)
    assert not any("_" in name for name in names)


@pytest.mark.parametrize(
    ("share", "text"), [(0.123, "+12.3"), (-0.05, "−5.0"), (0.0004, "0.0"), (-0.0004, "0.0")]
)
def test_a_difference_has_its_sign(share: float, text: str) -> None:
    assert words.signed(share) == text
