"""The total loss: its attention term by hand, its sum, and the parameters it refuses."""

import math
from typing import Any

import pytest
import torch

from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy
from worker.agkd_bml.metric import bidirectional_metric_loss
from worker.agkd_bml.objective import Losses, Weights, agkd_bml_losses, attention_loss
from worker.models import Outputs

PAPER: dict[str, Any] = {
    "smoothing": 0.5,
    "mart_beta": 6.0,
    "agkd_weight": 1.0,
    "bml_weight": 2.0,
    "margin": 0.03,
    "mu": 0.001,
}
Y = torch.tensor([0, 1, 2, 3, 0])


def outputs() -> list[Outputs]:
    """S on x_f, x and x_b, T on x and x'."""
    torch.manual_seed(0)
    return [Outputs(torch.rand(5, 3, 4, 4), torch.rand(5, 3), torch.randn(5, 4)) for _ in range(5)]


def losses(**changed: Any) -> Losses:
    forward, clean, backward, teacher_clean, teacher_prime = outputs()
    return agkd_bml_losses(
        student_forward=forward,
        student_clean=clean,
        student_backward=backward,
        teacher_clean=teacher_clean.features,
        teacher_prime=teacher_prime.features,
        y=Y,
        weights=Weights(**(PAPER | changed)),
    )


def test_attention_loss_by_hand() -> None:
    # Channel sums 0 1 / 3 4 -> 0 1/4 / 3/4 1 and, with one channel, 2 0 / 1 0 -> 1 0 / 1/2 0.
    student = torch.tensor([[[[0.0, 1.0], [1.0, 2.0]], [[0.0, 0.0], [2.0, 2.0]]]])
    teacher = torch.tensor([[[[2.0, 0.0], [1.0, 0.0]]]])
    expected = torch.tensor((1 + 0.25 + 0.25 + 1) / 4)
    torch.testing.assert_close(attention_loss(student, teacher), expected)
    constant = torch.ones_like(student)
    torch.testing.assert_close(attention_loss(constant, teacher), torch.tensor(1.5 / 4))


def test_every_term_sees_its_own_outputs() -> None:
    forward, clean, backward, teacher_clean, teacher_prime = outputs()
    found = losses()
    torch.testing.assert_close(
        found.classification, smoothed_cross_entropy(forward.logits, Y, smoothing=0.5)
    )
    assert found.mart is not None
    torch.testing.assert_close(found.mart, mart_term(forward.logits, clean.logits, Y, beta=6))
    torch.testing.assert_close(
        found.agkd,
        attention_loss(forward.features, teacher_clean.features)
        + attention_loss(backward.features, teacher_prime.features),
    )
    torch.testing.assert_close(
        found.bml,
        bidirectional_metric_loss(
            forward.embedding, clean.embedding, backward.embedding, margin=0.03, mu=0.001
        ),
    )


@pytest.mark.parametrize("mart_beta", [None, 0.0, 6.0])
@pytest.mark.parametrize(("agkd_weight", "bml_weight"), [(1.0, 2.0), (0.0, 2.0), (0.5, 0.0)])
def test_total(mart_beta: float | None, agkd_weight: float, bml_weight: float) -> None:
    found = losses(mart_beta=mart_beta, agkd_weight=agkd_weight, bml_weight=bml_weight)
    mart = 0.0 if found.mart is None else found.mart.item()
    weighted = agkd_weight * found.agkd + bml_weight * found.bml
    expected = found.classification.item() + mart + weighted.item()
    assert found.total.item() == pytest.approx(expected)
    assert (found.mart is None) == (mart_beta is None)


@pytest.mark.parametrize("name", PAPER)
def test_no_weight_has_a_default(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        Weights(**{key: value for key, value in PAPER.items() if key != name})


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refused_weights(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative"):
        Weights(**(PAPER | {name: value}))


def test_smoothing_stays_below_one() -> None:
    with pytest.raises(ValueError, match="smoothing must be below 1"):
        Weights(**(PAPER | {"smoothing": 1.0}))
