"""The feature view: PCA against eigenvectors, examples against the optimum of a linear model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from app.contracts.params import Attack
from app.contracts.results import EmbeddingView
from tests.evaluation.batches import measured, params
from worker.data import Split
from worker.evaluation.conclusion import Samples, conclude
from worker.evaluation.embedding import embedding_view, pca, project, tsne
from worker.evaluation.progress import Meter
from worker.evaluation.target import Chunk
from worker.models import Classifier, Outputs, build

COLOURS = np.array([[110, 70, 60], [60, 120, 80], [70, 60, 130]], dtype=np.uint8)
"""One training image a class is of this colour throughout."""
EPS = 8 / 255


class Linear(Classifier):
    """Features are the pixels, so that e(x) is the mean colour; class k likes the k-th colour."""

    def __init__(self) -> None:
        super().__init__(
            body=nn.Identity(), feature_dim=3, num_classes=3, mean=[0.0] * 3, std=[1.0] * 3
        )
        with torch.no_grad():
            self.head.weight.copy_(5 * torch.eye(3) - 1)


def one_a_class() -> Split:
    """Three images that belong to the split, among others that must not be drawn."""
    images = np.full((6, 4, 4, 3), 255, dtype=np.uint8)
    images[1::2] = COLOURS[:, None, None, :]
    labels = np.array([0, 0, 1, 1, 2, 2])
    return Split("train", images, labels, None, np.array([1, 3, 5]))


def noisy(count: int) -> tuple[Tensor, Tensor]:
    """Images of a class's colour and some noise, (N, 3, 4, 4), and their classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    colour = torch.from_numpy(COLOURS)[y].float().div(255)[:, :, None, None]
    return colour + 0.05 * torch.randn(count, 3, 4, 4, generator=generator), y


def view(x: Tensor, y: Tensor, *, steps: int = 10, seed: int = 0) -> EmbeddingView:
    return embedding_view(
        Linear().eval(), x, y, one_a_class(), eps=EPS, step_size=EPS / 4, steps=steps, seed=seed
    )


def by_eigenvectors(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinates along the covariance's two largest eigenvectors, and their share of its trace.

    The largest entry of each eigenvector is positive.
    """
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    first = vectors[:, [-1, -2]]
    first *= np.sign(first[np.abs(first).argmax(axis=0), [0, 1]])
    return centred @ first, float(values[-2:].sum() / values.sum())


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (5, 40), (60, 7), (200, 128)])
def test_pca_equals_eigenvectors_of_the_covariance(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    points = rng.normal(size=(rows, columns)) * np.linspace(3, 1, columns) + 5
    plane, explained = pca(points)
    expected, share = by_eigenvectors(points)
    np.testing.assert_allclose(plane, expected, atol=1e-9)  # signs as well
    assert explained == pytest.approx(share)


@given(seed=st.integers(0, 999), columns=st.integers(2, 6))
def test_pca_of_anything(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(12, columns)) * np.arange(1, columns + 1) ** 2
    plane, explained = pca(points)
    order = rng.permutation(12)
    moved, again = pca(points[order] + 7.0)
    np.testing.assert_allclose(moved, plane[order], atol=1e-6)
    assert 0 < explained <= 1 + 1e-12
    assert again == pytest.approx(explained)
    first, second = plane.var(axis=0)
    assert first >= second
    assert (first + second) / points.var(axis=0).sum() == pytest.approx(explained)


def test_pca_of_a_line_and_of_a_point() -> None:
    line = np.array([[0.0], [1.0], [5.0]])
    plane, explained = pca(line)
    np.testing.assert_allclose(plane, [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]], atol=1e-12)
    assert explained == 1.0
    plane, explained = pca(np.ones((3, 4)))
    assert not plane.any()
    assert explained == 1.0


def test_tsne_keeps_groups_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 20)
    points = rng.normal(size=(60, 10)) * 0.1 + np.eye(10)[group]
    plane = tsne(pca(points)[0], points, 0)
    assert plane.shape == (60, 2)
    distance = np.linalg.norm(plane[:, None] - plane[None], axis=2) + 1e9 * np.eye(60)
    assert (group[distance.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(tsne(pca(points)[0], points, 0), plane)


@pytest.mark.parametrize("rows", [3, 4, 10])
def test_few_points_have_a_picture_too(rows: int) -> None:
    points = np.random.default_rng(0).normal(size=(rows, 5))
    for projection in project(points, seed=0):
        assert len(projection.x) == len(projection.y) == rows
        assert np.isfinite([projection.x, projection.y]).all()
    assert np.isfinite(tsne(np.zeros((rows, 2)), np.zeros((rows, 5)), 0)).all()


def test_examples_are_at_the_optimum_of_a_linear_model() -> None:
    """Towards a class, every pixel ends at the border of the ball, along the sign of its weights.

    Cross-entropy to class t descends along w_t - sum over k of p_k w_k, which for these weights is
    5 (1 - p_t) at the t-th colour and -5 p_k at the others: the signs are those of w_t.
    """
    x, y = noisy(9)
    found = view(x, y)
    logits = x.mean(dim=(2, 3)) @ Linear().head.weight.T
    y_prime = logits.masked_fill(nn.functional.one_hot(y, 3).bool(), -9.0).argmax(dim=1)
    assert found.classes == tuple(y.tolist())
    assert found.confusing == tuple(y_prime.tolist())

    towards = 2 * EPS * torch.eye(3) - EPS
    clean = x.mean(dim=(2, 3))
    forward = clean + towards[y_prime]
    backward = torch.from_numpy(COLOURS).float()[y_prime] / 255 + towards[y]
    points = torch.cat([clean, forward, backward]).detach().double().numpy()
    expected, share = by_eigenvectors(points)
    shown = found.projections[0]
    assert shown.name == "pca"
    np.testing.assert_allclose(np.array([shown.x, shown.y]).T, expected, atol=2e-5)
    assert shown.explained == pytest.approx(share, abs=1e-4)


def test_the_view_of_more_images_than_fit_a_batch_is_repeatable() -> None:
    x, y = noisy(60)
    before = x.clone()
    found = view(x, y, steps=1)
    assert torch.equal(x, before)
    assert len(found.classes) == len(found.confusing) == 60
    assert [p.name for p in found.projections] == ["pca", "tsne"]
    assert all(len(p.x) == len(p.y) == 180 for p in found.projections)
    assert found.projections[1].explained is None
    assert view(x, y, steps=1) == found
    assert view(x, y, steps=1, seed=1) != found


def test_backward_examples_start_at_images_of_the_most_confusing_class() -> None:
    """With an attack of no length they are training images of y'."""
    x, y = noisy(6)
    found = embedding_view(
        Linear().eval(), x, y, one_a_class(), eps=0.0, step_size=0.0, steps=1, seed=0
    )
    clean = x.mean(dim=(2, 3))
    start = torch.from_numpy(COLOURS).float()[list(found.confusing)] / 255
    expected, _ = by_eigenvectors(torch.cat([clean, clean, start]).double().numpy())
    shown = found.projections[0]
    np.testing.assert_allclose(np.array([shown.x, shown.y]).T, expected, atol=2e-5)


def test_a_real_architecture() -> None:
    torch.manual_seed(0)
    model = build("wrn-10-1", num_classes=3, mean=[0.5] * 3, std=[0.25] * 3).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    pool = Split("train", images, np.arange(9) % 3, None, np.arange(9))
    x, y = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    found = embedding_view(model, x, y, pool, eps=EPS, step_size=EPS / 4, steps=2, seed=0)
    assert not set(zip(found.classes, found.confusing, strict=True)) & {(0, 0), (1, 1), (2, 2)}
    assert all(len(p.x) == 12 for p in found.projections)


def test_what_does_not_fit_is_refused() -> None:
    x, y = noisy(3)
    arguments = {"eps": EPS, "step_size": EPS, "steps": 1, "seed": 0}
    with pytest.raises(ValueError, match="at least one image"):
        embedding_view(Linear().eval(), x[:0], y[:0], one_a_class(), **arguments)
    with pytest.raises(ValueError, match="eval mode"):
        embedding_view(Linear().train(), x, y, one_a_class(), **arguments)
    with pytest.raises(ValueError, match="not finite"):
        project(np.array([[0.0, np.nan]] * 3), seed=0)


@pytest.mark.parametrize("size", [1.0, float("nan")])
def test_embeddings_that_cannot_be_drawn_cost_no_other_figure(size: float) -> None:
    class Scaled(Linear):
        def outputs(self, x: Tensor) -> Outputs:
            seen = super().outputs(x)
            return seen._replace(embedding=size * seen.embedding)

    x, y = noisy(6)
    x = x.clamp(0, 1)
    chosen = params(Attack(steps=2), embedding=True)
    measurement = measured(Scaled().eval().requires_grad_(False), x, y, chosen)
    chunk = Chunk(x=x, y=y, numbers=tuple(range(6)), masks=None, index=0)
    meter = Meter(lambda done, total, phase: None)
    figures = conclude(measurement, Samples(chunk, chunk, one_a_class()), meter)
    assert (figures.embedding is not None) == (size == 1.0)
    assert figures.verdict is not None
    assert figures.robust.n == 6
