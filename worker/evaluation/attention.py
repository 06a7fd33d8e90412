"""Attention under attack over a dataset: does a model keep looking where it should?

A model's map A(F), clean and attacked, is held against the map that a reference, usually the
teacher, has of the clean image, and against the object's mask where the dataset has one. The paper
(arXiv 2108.06017) claims that an attack moves the attention off the object, and that a
student taught by attention keeps it there; these figures can say so, or not.

Maps of two architectures may differ in resolution: a model's map is brought to that of the
reference before distances are taken (bilinear, antialiased), and kept at its own for the masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from app.contracts.results import (
    Accuracy,
    AttentionDistance,
    AttentionFigures,
    AttentionInside,
    Lineage,
    Mean,
)
from app.contracts.results.base import Z_95
from worker.agkd_bml.attention import attention_map, cosine_distance, l1_distance
from worker.models.base import Classifier

Measure = Literal["l1", "cosine", "iou"]

MEASURES: tuple[Measure, ...] = ("l1", "cosine", "iou")
TOP_SHARE = 0.2
_DECIMALS = 6


def on_grid(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps (N, h, w) at another resolution, `size` = (H, W); untouched where they have it."""
    if maps.shape[1:] == size:
        return maps
    shape = (size[0], size[1])
    return F.interpolate(maps[:, None], size=shape, mode="bilinear", antialias=True)[:, 0]


def top_positions(maps: Tensor) -> Tensor:
    """Where each map is among its highest fifth: (N, H, W) -> (N, H, W) bool.

    Of H * W positions the highest ceil(H * W / 5), and with them every position that equals the
    lowest of these: ties are all inside, so that no corner of the image is preferred. A constant
    map has every position.
    """
    flat = maps.flatten(1)  # (N, H * W)
    count = -(-flat.shape[1] // round(1 / TOP_SHARE))
    lowest = flat.topk(count, dim=1).values[:, -1:]  # (N, 1)
    return (flat >= lowest).view(maps.shape)


def top_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of the highest fifths of two maps, (N, H, W) twice -> (N,)."""
    top_a, top_b = top_positions(a), top_positions(b)
    common = (top_a & top_b).sum(dim=(1, 2))
    return common.to(a) / (top_a | top_b).sum(dim=(1, 2))


def share_inside(maps: Tensor, cover: Tensor) -> Tensor:
    """Share of each map's attention that falls on the object, in [0, 1], (N,).

    sum over positions of A * m / sum of A. A constant map, all zeros, points nowhere: it counts as
    spread evenly and reaches the object's area.

    Args:
        maps: A, (N, h, w) in [0, 1].
        cover: m, the share of each position that the object covers, (N, h, w) in [0, 1].
    """
    total = maps.sum(dim=(1, 2))
    inside = (maps * cover).sum(dim=(1, 2))
    return torch.where(total > 0, inside / torch.where(total > 0, total, 1), cover.mean(dim=(1, 2)))


def points_at_object(maps: Tensor, cover: Tensor) -> Tensor:
    """The pointing game (Zhang et al., IJCV 2018) at the map's resolution, (N,) bool.

    Whether the most attended position is covered by the object by half or more. Of equal positions
    the first one, row by row, counts; a constant map points at nothing.
    """
    highest, first = maps.flatten(1).max(dim=1)  # (N, h, w) -> (N,) twice
    covered = cover.flatten(1).gather(1, first[:, None])[:, 0]
    return (highest > 0) & (covered >= 0.5)


class Separation(NamedTuple):
    """How well a distance tells flipped images from kept ones."""

    auc: float
    """P(flipped > kept) + P(flipped = kept) / 2: the Mann-Whitney statistic over n1 * n0."""
    interval: tuple[float, float] | None
    """95 %, after DeLong et al. (Biometrics, 1988); None with fewer than two images of a kind."""


def separation(distance: NDArray[np.float64], flipped: NDArray[np.bool_]) -> Separation | None:
    """The area under the ROC curve of `distance` (n,) for `flipped` (n,); None without both kinds.

    With V_i the share of kept images nearer than flipped image i, and W_j the share of flipped
    images farther than kept image j, the AUC is the mean of V and of W, and its variance
    var(V) / n1 + var(W) / n0.
    """
    n1, n0 = int(flipped.sum()), int((~flipped).sum())
    if n1 == 0 or n0 == 0:
        return None
    ranks = _mid_ranks(distance)
    nearer = (ranks[flipped] - _mid_ranks(distance[flipped])) / n0  # V, (n1,)
    farther = 1 - (ranks[~flipped] - _mid_ranks(distance[~flipped])) / n1  # W, (n0,)
    auc = float(nearer.mean())
    if n1 == 1 or n0 == 1:
        return Separation(auc, None)
    half = Z_95 * float(np.sqrt(nearer.var(ddof=1) / n1 + farther.var(ddof=1) / n0))
    return Separation(auc, (max(0.0, auc - half), min(1.0, auc + half)))


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middle[which]


class Seen(NamedTuple):
    """A batch's numbers, one an image: (N,) each."""

    positions: int
    """Of the smaller of the two models' maps."""
    flipped: Tensor
    """Whether the model's prediction for x_adv differs from that for x."""
    clean: dict[Measure, Tensor]
    """Of the model's map of x to the reference's map of x."""
    adversarial: dict[Measure, Tensor]
    """Of the model's map of x_adv to the reference's map of x."""
    inside: dict[str, Tensor]
    """`clean`, `adversarial`, `area`, `pointing_clean`, `pointing_adversarial`, `pointing_area`;
    empty without masks."""


@torch.no_grad()
def see(
    reference: Classifier, model: Classifier, x: Tensor, x_adv: Tensor, masks: Tensor | None
) -> Seen:
    """Both models' maps of a batch, as numbers. Arguments are those of `AttentionMeter.add`."""
    _check(x, x_adv, masks)
    clean, attacked = model.outputs(x), model.outputs(x_adv)
    of_clean, of_attacked = attention_map(clean.features), attention_map(attacked.features)
    expected = of_clean if reference is model else attention_map(reference.outputs(x).features)
    return Seen(
        positions=min(of_clean[0].numel(), expected[0].numel()),
        flipped=clean.logits.argmax(dim=1) != attacked.logits.argmax(dim=1),
        clean=_distances(of_clean, expected),
        adversarial=_distances(of_attacked, expected),
        inside={} if masks is None else _inside(of_clean, of_attacked, masks),
    )


class AttentionMeter:
    """Gathers one model's attention figures batch by batch; keeps only numbers of each image."""

    def __init__(self, reference: Classifier, lineage: Lineage, model: Classifier) -> None:
        """Compare `model` with `reference`, which `lineage` names; the two may be one model.

        Raises:
            ValueError: a model is in train mode.
        """
        if reference.training or model.training:
            raise ValueError("both models must be in eval mode")
        self._reference, self._lineage, self._model = reference, lineage, model
        self._seen: list[Seen] = []

    def add(self, x: Tensor, x_adv: Tensor, masks: Tensor | None) -> None:
        """Look at a batch.

        Every image should have been attacked, and all for equally many steps: an attack that stops
        at the first wrong answer moves the attention of a weak model less than that of a strong
        one. `pgd` gives such images, `first_break` does not.

        Args:
            x: clean images (N, 3, H, W) in [0, 1].
            x_adv: the same images attacked, in the same order.
            masks: (N, H, W), bool or in [0, 1], 1 on the object; None where the dataset has none.

        Raises:
            ValueError: shapes do not fit, a mask is outside [0, 1], or masks come with some batches
                only.
        """
        seen = see(self._reference, self._model, x, x_adv, masks)
        if self._seen and bool(self._seen[0].inside) != bool(seen.inside):
            raise ValueError("masks come with all batches or with none")
        self._seen.append(_to_cpu(seen))

    def state(self) -> list[dict[str, Any]]:
        """The numbers of each batch, for `load`."""
        return [seen._asdict() for seen in self._seen]

    def load(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Take in a `state`, of other images."""
        self._seen += [Seen(**each) for each in state]

    def figures(self, numbers: Sequence[int] | None = None) -> AttentionFigures | None:
        """Of all images so far, in the order of their numbers where these are given; None for maps
        of one position, which are constant.

        Raises ValueError where there is no image.
        """
        if not self._seen:
            raise ValueError("no image, no figures")
        if self._seen[0].positions == 1:
            return None
        every = sum(len(seen.flipped) for seen in self._seen)
        order = np.argsort(range(every) if numbers is None else numbers, kind="stable")
        flipped = _joined([seen.flipped for seen in self._seen])[order].astype(bool)
        clean, adversarial = (
            {m: _joined([rows[m] for rows in side])[order] for m in MEASURES}
            for side in ([s.clean for s in self._seen], [s.adversarial for s in self._seen])
        )
        inside = [seen.inside for seen in self._seen]
        return AttentionFigures(
            reference=self._lineage,
            images=len(flipped),
            distances=tuple(_summary(m, clean[m], adversarial[m], flipped) for m in MEASURES),
            inside=_inside_summary(
                {name: _joined([rows[name] for rows in inside])[order] for name in inside[0]},
                flipped,
            ),
            clean_l1=tuple(clean["l1"].round(_DECIMALS).tolist()),
            adversarial_l1=tuple(adversarial["l1"].round(_DECIMALS).tolist()),
            flipped=tuple(flipped.tolist()),
        )


def _check(x: Tensor, x_adv: Tensor, masks: Tensor | None) -> None:
    if x.dim() != 4 or len(x) == 0 or x.shape != x_adv.shape:
        raise ValueError(
            f"x and x_adv must be the same images (N, 3, H, W), not {tuple(x.shape)} "
            f"and {tuple(x_adv.shape)}"
        )
    if masks is None:
        return
    if masks.shape != (len(x), *x.shape[2:]):
        raise ValueError(f"masks must be (N, H, W) like the images, not {tuple(masks.shape)}")
    if not bool(((masks >= 0) & (masks <= 1)).all()):
        raise ValueError("masks must lie in [0, 1]")


def _distances(maps: Tensor, expected: Tensor) -> dict[Measure, Tensor]:
    maps = on_grid(maps, expected.shape[1:])
    return {
        "l1": l1_distance(maps, expected),
        "cosine": cosine_distance(maps, expected),
        "iou": top_iou(maps, expected),
    }


def _inside(clean: Tensor, adversarial: Tensor, masks: Tensor) -> dict[str, Tensor]:
    # Area averages, so that a position on the outline counts by the share that is object.
    cover = F.adaptive_avg_pool2d(masks[:, None].to(clean), (clean.shape[1], clean.shape[2]))[:, 0]
    return {
        "clean": share_inside(clean, cover),
        "adversarial": share_inside(adversarial, cover),
        "area": cover.mean(dim=(1, 2)),
        "pointing_clean": points_at_object(clean, cover),
        "pointing_adversarial": points_at_object(adversarial, cover),
        "pointing_area": (cover >= 0.5).to(clean).mean(dim=(1, 2)),
    }


def _to_cpu(seen: Seen) -> Seen:
    return Seen(
        seen.positions,
        seen.flipped.cpu(),
        {name: rows.cpu() for name, rows in seen.clean.items()},
        {name: rows.cpu() for name, rows in seen.adversarial.items()},
        {name: rows.cpu() for name, rows in seen.inside.items()},
    )


def _joined(parts: list[Tensor]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return numbers


def _mean(values: NDArray[np.float64]) -> Mean | None:
    return Mean.of(values.tolist()) if len(values) else None


def _summary(
    measure: Measure,
    clean: NDArray[np.float64],
    adversarial: NDArray[np.float64],
    flipped: NDArray[np.bool_],
) -> AttentionDistance:
    farther = -adversarial if measure == "iou" else adversarial
    found = separation(farther, flipped)
    return AttentionDistance(
        measure=measure,
        clean=Mean.of(clean.tolist()),
        adversarial=Mean.of(adversarial.tolist()),
        adversarial_kept=_mean(adversarial[~flipped]),
        adversarial_flipped=_mean(adversarial[flipped]),
        auc=None if found is None else found.auc,
        auc_interval=None if found is None else found.interval,
    )


def _inside_summary(
    rows: dict[str, NDArray[np.float64]], flipped: NDArray[np.bool_]
) -> AttentionInside | None:
    if not rows:
        return None
    n = len(flipped)
    return AttentionInside(
        clean=Mean.of(rows["clean"].tolist()),
        adversarial=Mean.of(rows["adversarial"].tolist()),
        adversarial_kept=_mean(rows["adversarial"][~flipped]),
        adversarial_flipped=_mean(rows["adversarial"][flipped]),
        area=Mean.of(rows["area"].tolist()),
        pointing_clean=Accuracy.of(int(rows["pointing_clean"].sum()), n),
        pointing_adversarial=Accuracy.of(int(rows["pointing_adversarial"].sum()), n),
        pointing_area=Mean.of(rows["pointing_area"].tolist()),
    )
