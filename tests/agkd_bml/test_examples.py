"""The most confusing class, and the forward and the backward adversarial example."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from worker.agkd_bml.examples import (
    TrainingAttack,
    forward_and_backward_examples,
    most_confusing_class,
)
from worker.attacks import pgd
from worker.models import Classifier

ATTACK = TrainingAttack(eps=0.1, step_size=0.03, steps=5)


def test_most_confusing_class_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-3.0, -1.0, -2.0], [0.0, 5.0, -9.0]])
    y = torch.tensor([0, 1, 1, 2])
    before = logits.clone()
    assert most_confusing_class(logits, y).tolist() == [2, 0, 2, 1]
    assert torch.equal(logits, before)


def test_two_classes_leave_one_choice() -> None:
    y = torch.tensor([0, 1, 0, 1])
    assert torch.equal(most_confusing_class(torch.randn(4, 2), y), 1 - y)


def test_one_batch_equals_two_attacks_one_after_the_other(
    make_model: Callable[[int], Classifier],
) -> None:
    student = make_model(0)
    torch.manual_seed(1)
    x, x_prime = torch.rand(2, 6, 3, 8, 8, dtype=torch.float64).unbind()
    y = torch.arange(6) % 4
    y_prime = (y + 1 + torch.arange(6) % 3) % 4
    x_f, x_b = forward_and_backward_examples(
        student, x, y, x_prime, y_prime, attack=ATTACK, generator=torch.Generator().manual_seed(5)
    )
    generator = torch.Generator().manual_seed(5)
    for found, start, target in [(x_f, x, y_prime), (x_b, x_prime, y)]:
        expected = pgd(
            student,
            start,
            target,
            eps=0.1,
            step_size=0.03,
            steps=5,
            norm="linf",
            targeted=True,
            random_start=True,
            generator=generator,
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        towards = [F.cross_entropy(student(images), target) for images in (start, found)]
        assert towards[1] < towards[0]


def test_refuses_what_pgd_refuses(make_model: Callable[[int], Classifier]) -> None:
    x, y = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="steps must be at least 1"):
        forward_and_backward_examples(
            make_model(0),
            x,
            y,
            x,
            1 - y,
            attack=TrainingAttack(eps=0.1, step_size=0.03, steps=0),
            generator=torch.Generator(),
        )
