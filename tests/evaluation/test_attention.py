"""Attention under attack: every figure by hand on small maps, the AUC against scikit-learn."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from app.contracts.results import Accuracy, AttentionFigures, Lineage, Mean
from worker.evaluation.attention import (
    AttentionMeter,
    on_grid,
    points_at_object,
    separation,
    share_inside,
    top_iou,
    top_positions,
)
from worker.models import Classifier, build

LINEAGE = Lineage(id="t", name="Teacher", sha256="0" * 64)


class Bright(Classifier):
    """Looks where the image is bright, and says which of three colours is the brightest.

    Images (N, 3, 8, 8) -> features (N, 3, 8 / cell, 8 / cell), averages of cells.
    """

    def __init__(self, cell: int = 2) -> None:
        super().__init__(
            body=nn.AvgPool2d(cell), feature_dim=3, num_classes=3, mean=[0.0] * 3, std=[1.0] * 3
        )
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3))


def bright(cell: int = 2) -> Classifier:
    return Bright(cell).double().eval()


def map_of(*rows: Sequence[float]) -> Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def image(cells: dict[tuple[int, int], float], colour: int = 0) -> Tensor:
    """An image (3, 8, 8) of cells of 2 pixels, of the given brightness, else black."""
    pixels = torch.zeros(3, 8, 8, dtype=torch.float64)
    for (row, column), value in cells.items():
        pixels[colour, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = value
    return pixels


def figures(
    x: Tensor,
    x_adv: Tensor,
    masks: Tensor | None,
    *,
    model: Classifier | None = None,
    reference: Classifier | None = None,
    split: Sequence[int] | None = None,
) -> AttentionFigures:
    meter = AttentionMeter(reference or bright(), LINEAGE, model or bright())
    sizes = split or [len(x)]
    parts = [None] * len(sizes) if masks is None else list(torch.split(masks, sizes))
    for part in zip(torch.split(x, sizes), torch.split(x_adv, sizes), parts, strict=True):
        meter.add(*part)
    found = meter.figures()
    assert found is not None
    return found


def test_the_highest_fifth_by_hand() -> None:
    ten = map_of([0.1, 0.9, 0.3, 0.2, 0.8], [0.0, 0.4, 0.5, 0.6, 0.7])
    expected = torch.zeros(1, 2, 5, dtype=torch.bool)
    expected[0, 0, 1] = expected[0, 0, 4] = True
    assert torch.equal(top_positions(ten), expected)


@pytest.mark.parametrize(("side", "count"), [(1, 1), (2, 1), (3, 2), (4, 4), (5, 5), (8, 13)])
def test_a_fifth_is_rounded_up(side: int, count: int) -> None:
    assert top_positions(torch.arange(side**2).view(1, side, side) / side**2).sum() == count


def test_ties_with_the_last_of_the_fifth_are_all_inside() -> None:
    tied = map_of([0.1, 0.9, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0])
    assert top_positions(tied).tolist() == [[[False, True, True, True, True], [False] * 5]]
    assert top_positions(torch.zeros(1, 2, 5)).all()


def test_iou_by_hand() -> None:
    a = map_of([1.0, 0.9, 0.0, 0.0, 0.1], [0.2, 0.3, 0.1, 0.0, 0.0])
    b = map_of([0.0, 0.9, 1.0, 0.0, 0.1], [0.2, 0.3, 0.1, 0.0, 0.0])
    disjoint = map_of([0.0, 0.1, 0.2, 0.0, 0.0], [0.0, 0.0, 0.0, 0.8, 0.9])
    found = top_iou(torch.cat([a, a, a, a]), torch.cat([a, b, disjoint, torch.zeros_like(a)]))
    torch.testing.assert_close(found, torch.tensor([1.0, 1 / 3, 0.0, 2 / 10]).double())


maps = st.builds(
    lambda seed, side, levels: (
        torch.randint(levels + 1, (3, side, side), generator=torch.Generator().manual_seed(seed))
        / levels
    ),
    seed=st.integers(0, 2**16),
    side=st.integers(4, 4),
    levels=st.sampled_from([1, 2, 4, 1024]),
)
"""Three maps with many ties, or few."""


@given(a=maps, b=maps)
def test_iou_of_anything(a: Tensor, b: Tensor) -> None:
    found = top_iou(a, b)
    assert torch.equal(found, top_iou(b, a))
    assert ((found >= 0) & (found <= 1)).all()
    assert (top_iou(a, a) == 1).all()
    # No place in the image is special.
    assert torch.equal(found, top_iou(a.flip(1), b.flip(1)))
    assert torch.equal(found, top_iou(a.transpose(1, 2), b.transpose(1, 2)))


def test_share_inside_by_hand() -> None:
    attention = map_of([1.0, 0.5], [0.25, 0.25])
    on_outline = map_of([1.0, 0.0], [0.5, 0.0])
    found = share_inside(
        torch.cat([attention, attention, torch.zeros_like(attention)]),
        torch.cat([on_outline, 1 - on_outline, on_outline]),
    )
    torch.testing.assert_close(found, torch.tensor([1.125 / 2, 0.875 / 2, 1.5 / 4]).double())


@given(attention=maps, cover=maps)
def test_share_inside_of_anything(attention: Tensor, cover: Tensor) -> None:
    found = share_inside(attention, cover)
    assert ((found >= 0) & (found <= 1 + 1e-6)).all()
    torch.testing.assert_close(found + share_inside(attention, 1 - cover), torch.ones(3))
    for even in (torch.zeros_like(cover), torch.full_like(cover, 0.3)):
        torch.testing.assert_close(share_inside(even, cover), cover.mean(dim=(1, 2)))


def test_the_pointing_game_by_hand() -> None:
    peak = map_of([0.0, 1.0], [0.3, 0.9])
    tied = map_of([0.0, 1.0], [0.3, 1.0])
    maps = torch.cat([peak, peak, peak, tied, tied, torch.zeros_like(peak)])
    cover = torch.cat(
        [
            map_of([0.0, 0.5], [0.0, 0.0]),  # half is enough
            map_of([0.0, 0.49], [1.0, 1.0]),
            map_of([1.0, 1.0], [1.0, 1.0]),
            map_of([0.0, 1.0], [0.0, 0.0]),  # the first of equals
            map_of([0.0, 0.0], [0.0, 1.0]),
            map_of([1.0, 1.0], [1.0, 1.0]),  # a constant map points at nothing
        ]
    )
    assert points_at_object(maps, cover).tolist() == [True, False, True, True, False, False]


def test_a_map_is_brought_to_another_resolution() -> None:
    """With triangles of half-width 2: weights 3/7, 3/7 and 1/7 along each side."""
    row = torch.tensor([7.0, 14.0, 21.0, 35.0]).double()
    found = on_grid(row.expand(1, 4, 4), torch.Size([2, 2]))
    near, far = (3 * 7 + 3 * 14 + 21) / 7, (14 + 3 * 21 + 3 * 35) / 7
    torch.testing.assert_close(found, map_of([near, far], [near, far]))
    same = torch.rand(2, 4, 4)
    assert on_grid(same, torch.Size([4, 4])) is same


images_with_distance = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]) | st.floats(0, 1), st.booleans()),
    min_size=4,
    max_size=40,
).filter(lambda rows: len({flipped for _, flipped in rows}) == 2)


@given(rows=images_with_distance)
def test_auc_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    distance, flipped = (np.array(column) for column in zip(*rows, strict=True))
    found, reversed_ = separation(distance, flipped), separation(distance, ~flipped)
    assert found is not None
    assert reversed_ is not None
    assert found.auc == pytest.approx(roc_auc_score(flipped, distance), abs=1e-12)
    assert reversed_.auc == pytest.approx(1 - found.auc, abs=1e-12)
    if found.interval is not None:
        low, high = found.interval
        assert 0 <= low <= found.auc <= high <= 1


def test_the_interval_of_the_auc_by_hand() -> None:
    """Flipped 0.2, 0.6, 0.9 against kept 0.1, 0.3, 0.6, with every pair written out."""
    distance = np.array([0.2, 0.1, 0.6, 0.3, 0.9, 0.6])
    flipped = np.array([True, False, True, False, True, False])
    v = [1 / 3, (1 + 1 + 0.5) / 3, 1.0]  # kept images nearer than each flipped one
    w = [1.0, 2 / 3, (0.5 + 1) / 3]  # flipped images farther than each kept one
    auc = sum(v) / 3
    variance = sum((a - auc) ** 2 for a in v) / 2 / 3 + sum((a - auc) ** 2 for a in w) / 2 / 3
    found = separation(distance, flipped)
    assert found is not None
    assert found.auc == pytest.approx(auc)
    half = 1.959964 * math.sqrt(variance)
    assert found.interval == pytest.approx((max(0, auc - half), min(1, auc + half)), abs=1e-6)


def test_the_interval_of_the_auc_covers_what_repeated_samples_show() -> None:
    rng = np.random.default_rng(0)
    flipped = np.arange(120) < 40
    truth = 0.5 * (1 + math.erf(0.5))  # P(a > b) of N(1, 1) and N(0, 1): Phi(1 / sqrt 2)
    covered = 0
    for _ in range(400):
        found = separation(rng.normal(size=120) + flipped, flipped)
        assert found is not None
        assert found.interval is not None
        covered += found.interval[0] <= truth <= found.interval[1]
    assert 0.91 <= covered / 400 <= 0.98


def test_without_both_kinds_there_is_no_auc() -> None:
    distance = np.array([0.1, 0.2])
    assert separation(distance, np.array([True, True])) is None
    assert separation(distance, np.array([False, False])) is None
    single = separation(distance, np.array([False, True]))
    assert single == (1.0, None)


def test_figures_by_hand() -> None:
    """Of two images, one keeps its bright object; the attack on the other moves and recolours."""
    x = torch.stack([image({(0, 0): 1.0}), image({(1, 1): 1.0, (2, 2): 0.5})])
    x_adv = torch.stack([image({(0, 0): 1.0}), image({(3, 3): 1.0, (1, 1): 0.25}, colour=1)])
    masks = torch.zeros(2, 8, 8)
    masks[0, 0:2, 0:1] = 1  # half of the cell (0, 0)
    masks[1, 2:4, 2:4] = 1  # the cell (1, 1)
    found = figures(x, x_adv, masks)

    assert found.reference == LINEAGE
    assert found.images == 2
    assert found.flipped == (False, True)
    l1, cosine, iou = found.distances
    assert [d.measure for d in found.distances] == ["l1", "cosine", "iou"]
    assert l1.clean == Mean.of([0.0, 0.0])
    assert cosine.clean.value == pytest.approx(0.0, abs=1e-12)
    assert iou.clean == Mean.of([1.0, 1.0])
    # Second map: 1 and 0.5 before, 0.25 and 1 elsewhere after; 16 positions.
    moved = (0.75 + 0.5 + 1.0) / 16
    assert found.clean_l1 == (0.0, 0.0)
    assert found.adversarial_l1 == (0.0, round(moved, 6))
    assert l1.adversarial == Mean.of([0.0, moved])
    assert l1.adversarial_kept == Mean.of([0.0])
    assert l1.adversarial_flipped == Mean.of([moved])
    turned = 1 - 0.25 / math.sqrt(1.25 * 1.0625)
    assert cosine.adversarial.value == pytest.approx(turned / 2)
    # Fewer than 4 positions are lit, so ties put all 16 among the highest fifth.
    assert iou.adversarial == Mean.of([1.0, 1.0])
    assert [d.auc for d in found.distances] == [1.0, 1.0, 0.5]
    assert l1.auc_interval is None

    inside = found.inside
    assert inside is not None
    assert inside.area == Mean.of([2 / 64, 4 / 64])
    assert inside.clean == Mean.of([0.5, 1 / 1.5])
    assert inside.adversarial == Mean.of([0.5, 0.25 / 1.25])
    assert inside.adversarial_kept == Mean.of([0.5])
    assert inside.adversarial_flipped == Mean.of([0.25 / 1.25])
    assert inside.pointing_clean == Accuracy.of(2, 2)
    assert inside.pointing_adversarial == Accuracy.of(1, 2)
    assert inside.pointing_area == Mean.of([1 / 16, 1 / 16])


def test_a_nearer_region_is_a_higher_iou_and_not_a_larger_distance() -> None:
    """The flipped image's map leaves the reference's region, the kept one's stays."""
    ramp = {(row, column): (4 * row + column + 1) / 16 for row in range(4) for column in range(4)}
    back = {cell: 17 / 16 - value for cell, value in ramp.items()}
    x = torch.stack([image(ramp), image(ramp)])
    x_adv = torch.stack([image(ramp), image(back, colour=2)])
    iou = figures(x, x_adv, None).distances[2]
    assert iou.adversarial_kept == Mean.of([1.0])
    assert iou.adversarial_flipped == Mean.of([0.0])
    assert iou.auc == 1.0


def test_attention_on_the_object_and_off_it() -> None:
    x = torch.stack([image({(row, 1): 1.0}) for row in range(4)])
    x_adv = torch.stack([image({(row, 2): 1.0}) for row in range(4)])
    found = figures(x, x_adv, x[:, 0] > 0).inside
    assert found is not None
    assert (found.clean.value, found.adversarial.value, found.area.value) == (1.0, 0.0, 1 / 16)
    assert found.pointing_clean == Accuracy.of(4, 4)
    assert found.pointing_adversarial == Accuracy.of(0, 4)
    assert figures(x, x_adv, (x[:, 0] > 0).float()).inside == found


def test_an_attack_that_does_nothing() -> None:
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64)
    model = bright(4)
    for distance in figures(x, x, None, model=model).distances:
        assert distance.adversarial == distance.clean == distance.adversarial_kept
        assert distance.adversarial_flipped is None
        assert distance.auc is None
    assert figures(x, x, None).inside is None


def test_a_model_is_at_no_distance_from_itself() -> None:
    torch.manual_seed(0)
    model = build("wrn-10-1", num_classes=4, mean=[0.5] * 3, std=[0.25] * 3).eval()
    x = torch.rand(4, 3, 16, 16)
    meter = AttentionMeter(model, LINEAGE, model)
    meter.add(x, (x + 0.2 * torch.rand_like(x)).clamp(0, 1), None)
    l1, cosine, iou = meter.figures().distances
    assert (l1.clean.value, iou.clean.value) == (0.0, 1.0)
    assert cosine.clean.value == pytest.approx(0.0, abs=1e-6)
    assert l1.adversarial.value > 0


def test_maps_of_different_resolution_are_compared_at_the_reference_s() -> None:
    """The model's 4 by 4 map of stripes, brought to the reference's 2 by 2."""
    x = torch.stack([image({(row, c): value for row in range(4) for c, value in stripes.items()})
                     for stripes in ({0: 1.0, 1: 0.5}, {1: 0.5, 2: 1.0})])  # fmt: skip
    found = figures(x, x, None, model=bright(2), reference=bright(4))
    # Reference: column means (0.75, 0) and (0.25, 0.5), scaled to (1, 0) and (0, 1).
    near = [(3 * 1.0 + 3 * 0.5 + 0) / 7, (3 * 0 + 3 * 0.5 + 1.0) / 7]
    far = [(0.5 + 0 + 0) / 7, (0.5 + 3 * 1.0 + 0) / 7]
    expected = [(abs(near[0] - 1) + far[0]) / 2, (near[1] + abs(far[1] - 1)) / 2]
    assert found.clean_l1 == pytest.approx(expected, abs=1e-6)
    assert found.distances[2].clean.value == 1.0


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    with_masks=st.booleans(),
)
def test_batches_do_not_matter(sizes: list[int], seed: int, with_masks: bool) -> None:
    n = sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    # Of 1/16 each, so that every average and sum is exact.
    x, x_adv = torch.randint(17, (2, n, 3, 8, 8), generator=generator).double() / 16
    masks = torch.rand(n, 8, 8, generator=generator) > 0.5 if with_masks else None
    assert figures(x, x_adv, masks, split=sizes) == figures(x, x_adv, masks)


@pytest.mark.parametrize(("own", "of_reference"), [(8, 2), (2, 8), (8, 8)])
def test_a_map_of_one_position_has_no_figures(own: int, of_reference: int) -> None:
    meter = AttentionMeter(bright(of_reference), LINEAGE, bright(own))
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    meter.add(x, x.flip(0), None)
    assert meter.figures() is None


def test_images_are_not_kept() -> None:
    meter = AttentionMeter(bright(), LINEAGE, bright())
    x, x_adv, masks = torch.rand(2, 3, 8, 8).double(), torch.rand(2, 3, 8, 8).double(), None
    alive = [weakref.ref(x), weakref.ref(x_adv)]
    meter.add(x, x_adv, masks)
    del x, x_adv
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
    assert meter.figures().images == 2


def test_what_does_not_fit_is_refused() -> None:
    x = torch.rand(2, 3, 8, 8).double()
    meter = AttentionMeter(bright(), LINEAGE, bright())
    with pytest.raises(ValueError, match="no image"):
        meter.figures()
    with pytest.raises(ValueError, match="same images"):
        meter.add(x, x[:1], None)
    with pytest.raises(ValueError, match="same images"):
        meter.add(x[:0], x[:0], None)
    with pytest.raises(ValueError, match="like the images"):
        meter.add(x, x, torch.zeros(2, 4, 4))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            meter.add(x, x, torch.full((2, 8, 8), wrong))
    meter.add(x, x, None)
    with pytest.raises(ValueError, match="all batches or with none"):
        meter.add(x, x, torch.zeros(2, 8, 8))
    with pytest.raises(ValueError, match="eval mode"):
        AttentionMeter(bright(), LINEAGE, bright().train())
