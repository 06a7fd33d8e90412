"""What a network remembers of images, against the network on the changed images themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.models.test_frozen import MEAN, STD, images, network, shaken
from worker.models import Classifier, Frozen, frozen
from worker.models.preactivation import preactivation_body


def remembering(model: Classifier) -> Frozen:
    copy = frozen(model, dtype=None)
    assert isinstance(copy, Frozen)
    return copy


def with_square(x: Tensor, top: int, left: int, pixels: Tensor) -> Tensor:
    changed, (height, width) = x.clone(), pixels.shape[2:]
    changed[:, :, top : top + height, left : left + width] = pixels
    return changed


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    blocks=st.integers(1, 2),
    size=st.tuples(st.integers(5, 13), st.integers(5, 13)),
    changes=st.lists(st.tuples(*[st.integers(0, 12)] * 4, st.integers(1, 7)), min_size=1),
    seed=st.integers(0, 2**31),
)
def test_any_change_of_any_images_in_any_network(
    widths: list[int],
    blocks: int,
    size: tuple[int, int],
    changes: list[tuple[int, int, int, int, int]],
    seed: int,
) -> None:
    """One after the other, some of them kept; `kept` and the rows are bits of the last number."""
    torch.manual_seed(seed)
    body = preactivation_body(stem=2, widths=widths, blocks=blocks)
    plain = Classifier(body=body, feature_dim=widths[-1], num_classes=3, mean=MEAN, std=STD)
    model = shaken(plain, seed).double().eval().requires_grad_(False)
    x = torch.rand(3, 3, *size, dtype=torch.float64)
    memory = remembering(model).remember(x)
    near(memory.logits, model(x))
    for top, left, height, width, chosen in changes:
        top, left = min(top, size[0] - 1), min(left, size[1] - 1)
        rows = torch.tensor([row for row in range(3) if chosen >> row & 1])
        shape = 1 + height % (size[0] - top), 1 + width % (size[1] - left)
        pixels = torch.rand(len(rows), 3, *shape, dtype=torch.float64)
        changed = with_square(x[rows], top, left, pixels)
        near(memory.look(rows, top, left, pixels), model(changed))
        kept = torch.rand(len(rows)) < 0.5
        memory.keep(kept)
        x[rows[kept]] = changed[kept]


@pytest.mark.parametrize("architecture", ["wrn-10-1", "wrn-16-2", "preactresnet-18"])
def test_the_architectures_of_the_lab(architecture: str) -> None:
    model = network(architecture).double().eval().requires_grad_(False)
    x, looked = images(4, size=32), list[tuple[int, ...]]()
    copy = remembering(model)
    memory = Frozen(copy.folded, lambda seen: looked.append(tuple(seen.shape))).remember(x)
    rows, pixels = torch.tensor([3, 1]), 1 - x[:2, :, :4, :4]
    near(memory.look(rows, 9, 21, pixels), model(with_square(x[rows], 9, 21, pixels)))
    assert looked == [(4, 3, 32, 32), (2, 3, 4, 4)]


def test_an_image_that_was_looked_at_has_not_changed_for_that() -> None:
    model = network("wrn-10-1").double().eval().requires_grad_(False)
    x = images(2, size=16)
    memory, rows = remembering(model).remember(x), torch.tensor([0, 1])
    memory.look(rows, 0, 0, torch.zeros(2, 3, 5, 5, dtype=torch.float64))
    memory.keep(torch.tensor([False, False]))
    near(memory.look(rows, 3, 3, x[:, :, 3:7, 3:7]), model(x))
