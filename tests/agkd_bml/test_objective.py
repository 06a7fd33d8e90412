"""The total loss: its attention term by hand, its sum, and the parameters it refuses."""

import math
from typing import Any

import pytest
import torch

from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy
from worker.agkd_bml.metric import bidirectional_metric_loss
from worker.agkd_bml.objective import (
    Weights,
    agkd_term,
    attention_loss,
    classification_terms,
    metric_term,
    total_of,
)
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


def test_attention_loss_by_hand() -> None:
    # Channel sums 0 1 / 3 4 -> 0 1/4 / 3/4 1 and, with one channel, 2 0 / 1 0 -> 1 0 / 1/2 0.
    student = torch.tensor([[[[0.0, 1.0], [1.0, 2.0]], [[0.0, 0.0], [2.0, 2.0]]]])
    teacher = torch.tensor([[[[2.0, 0.0], [1.0, 0.0]]]])
    expected = torch.tensor((1 + 0.25 + 0.25 + 1) / 4)
    torch.testing.assert_close(attention_loss(student, teacher), expected)
    constant = torch.ones_like(student)
    torch.testing.assert_close(attention_loss(constant, teacher), torch.tensor(1.5 / 4))


def test_every_term_sees_its_own_outputs() -> None:
    forward, clean, backward, of_x, of_x_prime = outputs()
    found = classification_terms(forward, clean, Y, Weights(**PAPER))
    assert list(found) == ["classification", "mart"]
    classification = smoothed_cross_entropy(forward.logits, Y, smoothing=0.5)
    torch.testing.assert_close(found["classification"], classification)
    mart = mart_term(forward.logits, clean.logits, Y, beta=6)
    torch.testing.assert_close(found["mart"], mart)
    torch.testing.assert_close(total_of(found), classification + mart)
    torch.testing.assert_close(
        agkd_term(forward, backward, of_x, of_x_prime),
        attention_loss(forward.features, of_x.features)
        + attention_loss(backward.features, of_x_prime.features),
    )
    torch.testing.assert_close(
        metric_term(forward, clean, backward, Weights(**PAPER)),
        bidirectional_metric_loss(
            forward.embedding, clean.embedding, backward.embedding, margin=0.03, mu=0.001
        ),
    )


def test_mart_is_a_term_only_where_it_is_on() -> None:
    forward, clean, *_ = outputs()
    found = classification_terms(forward, clean, Y, Weights(**(PAPER | {"mart_beta": None})))
    assert list(found) == ["classification"]


@pytest.mark.parametrize("name", PAPER)
def test_no_weight_has_a_default(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        Weights(**{key: value for key, value in PAPER.items() if key != name})


@pytest.mark.parametrize("name", PAPER)
def test_every_weight_may_be_zero(name: str) -> None:
    assert vars(Weights(**(PAPER | {name: 0.0})))[name] == 0


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_refused_weights(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative"):
        Weights(**(PAPER | {name: value}))


def test_smoothing_stays_below_one() -> None:
    with pytest.raises(ValueError, match="smoothing must be below 1"):
        Weights(**(PAPER | {"smoothing": 1.0}))
