"""As many epochs as a time allows, in the proportions that are wanted."""

from __future__ import annotations

import pytest

from worker.shipping.budget import Pace, epochs_within

QUICK, SLOW = Pace(step=0.1, validation=1.0, steps=10), Pace(step=0.5, validation=2.0, steps=10)
WANTED = {"teacher": 20, "student": 10}


def test_an_epoch_is_its_steps_and_their_measure() -> None:
    assert QUICK.seconds(3) == pytest.approx(6)
    assert SLOW.seconds(2) == pytest.approx(14)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        (1000, {"teacher": 20, "student": 10}),
        (110, {"teacher": 20, "student": 10}),
        (109, {"teacher": 19, "student": 9}),
        (55, {"teacher": 10, "student": 5}),
        (10, {"teacher": 1, "student": 1}),
        (-5, {"teacher": 1, "student": 1}),
    ],
)
def test_one_share_of_all_epochs(seconds: float, chosen: dict[str, int]) -> None:
    assert epochs_within(seconds, {"teacher": QUICK, "student": SLOW}, WANTED) == chosen
