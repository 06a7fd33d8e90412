"""The feature view: where clean, forward and backward examples lie among a model's features.

The examples are those of the training step (arXiv 2108.06017): forward from an image x
of class y towards the most confusing class y', backward from a training image x' of class y'
towards y. What is projected is the embedding e(x), the global average of the last features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.results import EmbeddingView, Projection
from worker.agkd_bml.examples import (
    TrainingAttack,
    forward_and_backward_examples,
    most_confusing_class,
)
from worker.data import Split
from worker.data.augment import to_float
from worker.data.sampling import ClassIndex
from worker.models.base import Classifier

VIEW_IMAGES = 200
"""How many images make a picture that can be read; t-SNE of their 600 points takes seconds."""
_BATCH = 50
_PERPLEXITY = 30.0
_DECIMALS = 5


def embedding_view(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    pool: Split,
    *,
    eps: float,
    step_size: float,
    steps: int,
    seed: int,
) -> EmbeddingView:
    """Clean, forward and backward examples of N images, in the plane of PCA and of t-SNE.

    The same arguments give the same view on a CPU.

    Args:
        model: in eval mode, on x's device.
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,), int64; `VIEW_IMAGES` or fewer
            are best. All are used.
        pool: where backward examples start, `dataset.split("train")`. Only drawn images are read.
        eps, step_size: radius and step of the Linf attack, in units of [0, 1].
        steps: of the attack.
        seed: of the drawn images, the attack's random starts and t-SNE.

    Raises:
        ValueError: there is no image, the model is in train mode or its embeddings are not finite,
            a class has no image in the pool; arguments that `pgd` refuses.
    """
    if len(x) == 0 or model.training:
        raise ValueError("needs at least one image and a model in eval mode")
    attack = TrainingAttack(eps=eps, step_size=step_size, steps=steps)
    generator = torch.Generator(x.device).manual_seed(seed)
    index = ClassIndex(torch.from_numpy(pool.labels))
    confusing, embeddings = [], []
    for images, classes in zip(torch.split(x, _BATCH), torch.split(y, _BATCH), strict=True):
        with torch.no_grad():
            y_prime = most_confusing_class(model(images), classes)  # (B,)
        x_prime = _draw(pool, index, y_prime, generator)
        x_f, x_b = forward_and_backward_examples(
            model, images, classes, x_prime, y_prime, attack=attack, generator=generator
        )
        with torch.no_grad():
            parts = [model.outputs(part).embedding for part in (images, x_f, x_b)]
        confusing.append(y_prime)
        embeddings.append(torch.stack(parts).cpu())  # (3, B, C)
    points = torch.cat(embeddings, dim=1).flatten(0, 1).double().numpy()  # (3 N, C)
    return EmbeddingView(
        classes=tuple(y.tolist()),
        confusing=tuple(torch.cat(confusing).tolist()),
        projections=project(points, seed=seed),
    )


def project(points: NDArray[np.float64], *, seed: int) -> tuple[Projection, Projection]:
    """Points (M, C), M at least 3, in the plane: by PCA, then by t-SNE started from it.

    Raises:
        ValueError: a coordinate that is not finite.
    """
    if not np.isfinite(points).all():
        raise ValueError("embeddings are not finite")
    flat, explained = pca(points)
    return _projection("pca", flat, explained), _projection("tsne", tsne(flat, points, seed), None)


def pca(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The two principal components of points (M, C), (M, 2), and the share of variance they hold.

    Of each direction that sign is taken which makes its largest coordinate positive, and what one
    coordinate lacks is zero. Points without variance hold a share of 1.
    """
    from sklearn.decomposition import PCA  # scikit-learn takes a second to import

    plane = np.zeros((len(points), 2))
    if not np.ptp(points, axis=0).any():
        return plane, 1.0
    components = min(2, points.shape[1])
    fitted = PCA(components, svd_solver="full").fit(points)
    plane[:, :components] = fitted.transform(points)
    return plane, float(fitted.explained_variance_ratio_.sum())


def tsne(start: NDArray[np.float64], points: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """t-SNE (van der Maaten and Hinton, JMLR 2008) of points (M, C), (M, 2).

    Starts from `start`, (M, 2), made small, so that the picture keeps the large directions of PCA.
    Perplexity is 30, or a third of the other points where these are few.
    """
    from sklearn.manifold import TSNE

    spread = float(start[:, 0].std())
    return np.asarray(
        TSNE(
            perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
            init=(start / spread * 1e-4 if spread > 0 else start).astype(np.float32),
            random_state=seed,
        ).fit_transform(points),
        dtype=np.float64,
    )


def _draw(pool: Split, index: ClassIndex, classes: Tensor, generator: torch.Generator) -> Tensor:
    """For each of `classes` (B,) a training image of it, uniformly: (B, 3, H, W) in [0, 1]."""
    drawn = index.draw(classes.cpu(), generator).numpy()
    pixels = torch.from_numpy(pool.all_images[pool.indices[drawn]])  # (B, H, W, 3)
    return to_float(pixels.to(classes.device).permute(0, 3, 1, 2))


def _projection(name: str, plane: NDArray[np.float64], explained: float | None) -> Projection:
    x, y = plane.round(_DECIMALS).T.tolist()
    return Projection.model_validate({"name": name, "x": x, "y": y, "explained": explained})
