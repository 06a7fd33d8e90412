"""Smoothed cross-entropy and the MART term: by hand, by numpy, and against torch."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy


def test_smoothed_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log() + 7  # softmax drops the 7
    first = -(0.6 * math.log(0.5) + 0.2 * math.log(0.3) + 0.2 * math.log(0.2))
    second = -(0.6 * math.log(0.8) + 0.4 * math.log(0.1))
    found = smoothed_cross_entropy(logits, torch.tensor([0, 2]), smoothing=0.4)
    torch.testing.assert_close(found, torch.tensor((first + second) / 2))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_smoothing_convention(classes: int) -> None:
    """s is spread over the K - 1 other classes; torch spreads its own over all K."""
    torch.manual_seed(0)
    logits, y = torch.randn(8, classes), torch.randint(classes, (8,))
    found = smoothed_cross_entropy(logits, y, smoothing=0.3)
    assert not torch.isclose(found, F.cross_entropy(logits, y, label_smoothing=0.3), atol=1e-3)
    same = 0.3 * classes / (classes - 1)
    torch.testing.assert_close(found, F.cross_entropy(logits, y, label_smoothing=same))


def test_no_smoothing_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(8, 10), torch.randint(10, (8,))
    torch.testing.assert_close(
        smoothed_cross_entropy(logits, y, smoothing=0), F.cross_entropy(logits, y)
    )


def test_mart_by_hand() -> None:
    adv = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    clean = torch.tensor([[0.8, 0.1, 0.1]], dtype=torch.float64).log()
    margin = -math.log(1.0001 - 0.3)
    divergence = 0.8 * math.log(0.8 / 0.5) + 0.1 * math.log(0.1 / 0.3) + 0.1 * math.log(0.1 / 0.2)
    found = mart_term(adv, clean, torch.tensor([0]), beta=6)
    assert found.item() == pytest.approx(margin + 6 * divergence * 0.2, abs=1e-5)


def test_the_margin_of_a_rival_that_is_sure() -> None:
    """The constants keep the logarithm finite: -log(1.0001 - 1 + 1e-12)."""
    sure = torch.tensor([[-100.0, 100.0, 0.0]], dtype=torch.float64)
    found = mart_term(sure, sure, torch.tensor([0]), beta=6)
    assert found.item() == pytest.approx(-math.log(1e-4 + 1e-12), abs=1e-9)


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_mart_equals_numpy(beta: float) -> None:
    rng = np.random.default_rng(0)
    adv, clean, y = (
        rng.normal(size=(9, 5)) * 2,
        rng.normal(size=(9, 5)) * 2,
        rng.integers(5, size=9),
    )
    terms = []
    for a, c, label in zip(adv, clean, y, strict=True):
        p_adv, p = np.exp(a) / np.exp(a).sum(), np.exp(c) / np.exp(c).sum()
        rival = max(p_adv[k] for k in range(5) if k != label)
        kl = sum(p[k] * np.log(p[k] / p_adv[k]) for k in range(5))
        terms.append(-np.log(1.0001 - rival + 1e-12) + beta * kl * (1.0000001 - p[label]))
    found = mart_term(torch.tensor(adv), torch.tensor(clean), torch.tensor(y), beta=beta)
    assert found.item() == pytest.approx(np.mean(terms), rel=1e-9)


def test_cross_entropy_and_margin_make_the_boosted_cross_entropy() -> None:
    """BCE of the MART paper's equation 5: -log p'_y - log(1 - max over k != y of p'_k)."""
    adv = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], dtype=torch.float64)
    logits, y = adv.log(), torch.tensor([0, 2])
    boosted = -(math.log(0.5) + math.log(1 - 0.3) + math.log(0.3) + math.log(1 - 0.6)) / 2
    found = smoothed_cross_entropy(logits, y, smoothing=0) + mart_term(logits, logits, y, beta=6)
    assert found.item() == pytest.approx(boosted, abs=2e-4)  # their constant 1.0001


@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_extreme_logits_stay_finite(size: float) -> None:
    adv = torch.tensor([[size, -size, 0.0], [-size, size, 0.0]], requires_grad=True)
    clean = torch.tensor([[-size, size, 0.0], [-size, size, 0.0]], requires_grad=True)
    y = torch.tensor([0, 0])
    loss = mart_term(adv, clean, y, beta=6) + smoothed_cross_entropy(adv, y, smoothing=0.5)
    loss.backward()
    assert loss.isfinite()
    for logits in (adv, clean):
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
