"""The bi-directional metric loss: by hand, and against torch's triplet loss."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.metric import bidirectional_metric_loss, distance


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, 0.0], [3.0, 0.0], 0.0),
        ([1.0, 0.0], [-3.0, 0.0], 0.0),  # |cos|: opposite is near
        ([1.0, 0.0], [0.0, 2.0], 1.0),
        ([3.0, 4.0], [1.0, 0.0], 0.4),
        ([-3.0, 4.0], [1.0, 0.0], 0.4),
    ],
)
def test_distance_by_hand(a: list[float], b: list[float], expected: float) -> None:
    found = distance(torch.tensor([a]), torch.tensor([b]))
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_loss_by_hand() -> None:
    anchor = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    positive = torch.tensor([[3.0, 4.0], [-2.0, 0.0]])  # d = 0.4 and 0
    negative = torch.tensor([[4.0, 3.0], [0.0, 1.0]])  # d = 0.2 and 1
    # Hinges: 0.03 + 0.4 - 0.2 = 0.23 and max(0, 0.03 + 0 - 1) = 0. Mean squares: 2 / 4,
    # (9 + 16 + 4) / 4 and (16 + 9 + 1) / 4.
    expected = 0.23 / 2 + 0.001 * (0.5 + 7.25 + 6.5)
    found = bidirectional_metric_loss(anchor, positive, negative, margin=0.03, mu=0.001)
    torch.testing.assert_close(found, torch.tensor(expected))


def numpy_distance(a: Tensor, b: Tensor) -> Tensor:
    rows = [
        1 - abs(np.dot(u, v)) / (np.linalg.norm(u) * np.linalg.norm(v))
        for u, v in zip(a.numpy(), b.numpy(), strict=True)
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.5])
def test_triplet_equals_torch_with_a_distance_by_numpy(margin: float) -> None:
    torch.manual_seed(0)
    anchor, positive, negative = torch.randn(3, 20, 7, dtype=torch.float64).unbind()
    expected = F.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=numpy_distance, margin=margin
    )
    found = bidirectional_metric_loss(anchor, positive, negative, margin=margin, mu=0)
    torch.testing.assert_close(found, expected)


def test_gradient_is_finite_for_embeddings_that_are_zero() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    embeddings = [rows.clone().requires_grad_() for _ in range(3)]
    loss = bidirectional_metric_loss(*embeddings, margin=0.03, mu=0.001)
    loss.backward()
    assert loss.isfinite()
    for embedding in embeddings:
        assert embedding.grad is not None
        assert embedding.grad.isfinite().all()
