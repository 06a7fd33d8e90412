"""Crop and flip against torchvision's own pad, crop and flip."""

from collections import Counter

import pytest
import torch
import torchvision.transforms.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.data.augment import random_crop_flip, to_float


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(image: Tensor, padding: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every result that torchvision's crop and flip can give, by its bytes."""
    height, width = image.shape[-2:]
    padded = reference.pad(image, [padding])
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = reference.crop(padded, top, left, height, width)
            for flip in (False, True):
                result = reference.hflip(window) if flip else window
                found[result.contiguous().numpy().tobytes()] = (top, left, flip)
    return found


def placements(images: Tensor, results: Tensor, padding: int) -> list[tuple[int, int, bool]]:
    """Top, left and flip of each result; fails where a result is no window of its image."""
    return [
        windows(image, padding)[result.contiguous().numpy().tobytes()]
        for image, result in zip(images, results, strict=True)
    ]


@settings(max_examples=30)
@given(
    st.integers(1, 5),
    st.integers(3, 9),
    st.integers(3, 9),
    st.integers(0, 4),
    st.sampled_from([torch.uint8, torch.float32]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_every_result_is_a_shifted_window_of_its_image(
    n: int, height: int, width: int, padding: int, dtype: torch.dtype, last: bool, seed: int
) -> None:
    images = torch.randint(1, 256, (n, 3, height, width), generator=generator(seed)).to(dtype)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    results = random_crop_flip(images, padding=padding, generator=generator(seed))
    assert results.dtype == dtype
    assert results.shape == images.shape
    assert len(placements(images, results, padding)) == n
    again = random_crop_flip(images, padding=padding, generator=generator(seed))
    assert torch.equal(again, results)


def test_offsets_and_flips_are_uniform_and_independent() -> None:
    padding, n = 1, 9000
    image = torch.arange(1, 3 * 4 * 4 + 1, dtype=torch.uint8).reshape(1, 3, 4, 4)
    results = random_crop_flip(image.repeat(n, 1, 1, 1), padding=padding, generator=generator(0))
    known = windows(image[0], padding)
    counts = Counter(known[result.contiguous().numpy().tobytes()] for result in results)
    assert len(counts) == 18
    # Chi-square of 17 degrees of freedom: 40.8 is passed once in a thousand seeds.
    assert sum((count - n / 18) ** 2 / (n / 18) for count in counts.values()) < 40.8


def test_four_pixels_are_the_default() -> None:
    images = torch.randint(1, 256, (300, 3, 12, 12), generator=generator(1), dtype=torch.uint8)
    found = placements(images, random_crop_flip(images, generator=generator(2)), 4)
    assert {top for top, _, _ in found} == set(range(9)) == {left for _, left, _ in found}


def test_the_input_is_left_as_it_was() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=generator(0), dtype=torch.uint8)
    before = images.clone()
    random_crop_flip(images, generator=generator(1))
    assert torch.equal(images, before)


def test_results_are_channels_last() -> None:
    images = torch.zeros(4, 3, 8, 8)
    results = random_crop_flip(images, generator=generator(0))
    assert results.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("shape", "padding"), [((3, 8, 8), 4), ((2, 3, 8, 8), -1)])
def test_crop_refuses_what_is_no_batch_or_padding(shape: tuple[int, ...], padding: int) -> None:
    with pytest.raises(ValueError, match=r"expected|padding"):
        random_crop_flip(torch.zeros(shape), padding=padding, generator=generator(0))


def test_to_float_scales_every_value_exactly() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    result = to_float(values)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert result[1, 2].flatten().tolist() == (torch.arange(256) / 255).tolist()


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)]
)
def test_to_float_refuses_what_is_no_uint8_batch(images: Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_float(images)
