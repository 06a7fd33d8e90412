"""Losses by hand."""

import torch

from worker.attacks.losses import cross_entropy, margin

LOGITS = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, -1.0], [1.0, 1.0, 1.0]])
CLASSES = torch.tensor([0, 2, 1])


def test_margin() -> None:
    assert margin(LOGITS, CLASSES).tolist() == [-0.5, 5.0, 0.0]


def test_margin_of_two_classes_is_the_difference() -> None:
    assert margin(LOGITS[:, :2], torch.tensor([0, 1, 0])).tolist() == [-2.0, -4.0, 0.0]


def test_margin_pulls_at_two_logits_alone() -> None:
    logits = LOGITS[:2].clone().requires_grad_()
    margin(logits, CLASSES[:2]).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]


def test_cross_entropy() -> None:
    expected = -(LOGITS.exp() / LOGITS.exp().sum(dim=1, keepdim=True)).log()
    found = cross_entropy(LOGITS, CLASSES)
    torch.testing.assert_close(found, expected[torch.arange(3), CLASSES])
