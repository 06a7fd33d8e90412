"""Augmentation of whole batches, on the device that holds them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.team import ALL, Share


def to_float(images: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 as float32 in [0, 1], channels last in memory.

    Raises:
        ValueError: `images` is not a uint8 batch of four dimensions.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"expected (N, C, H, W) uint8, got {tuple(images.shape)} {images.dtype}")
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def random_crop_flip(
    images: Tensor, *, padding: int = 4, generator: torch.Generator, share: Share = ALL
) -> Tensor:
    """Shift each image by up to `padding` pixels over zeros, and mirror half of the images.

    The same distribution as torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip`,
    with an offset and a flip of its own for every image, in one gather.

    Args:
        images: (N, C, H, W), any dtype, any device.
        padding: pixels of zeros on each side before the crop, >= 0.
        generator: source of offsets and flips. On the CPU it gives the same draws for every device.
        share: which of the draws for a whole batch are for the images here.

    Returns:
        (N, C, H, W), same dtype and device, channels last in memory.

    Raises:
        ValueError: `images` has not four dimensions, or `padding` is negative.
    """
    if images.ndim != 4:
        raise ValueError(f"expected (N, C, H, W), got {tuple(images.shape)}")
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    n, _, height, width = images.shape
    highest, device = 2 * padding + 1, images.device
    # (N, 1) each
    top, left = share.drawn(n, lambda m: _draw(highest, (2, m, 1), generator, device), dim=1)
    flip = share.drawn(n, lambda m: _draw(2, (m, 1), generator, device)).bool()

    rows = top + torch.arange(height, device=images.device)  # (N, H)
    across = torch.arange(width, device=images.device)
    columns = left + torch.where(flip, width - 1 - across, across)  # (N, W)
    which = torch.arange(n, device=images.device)

    pixels = images.permute(0, 2, 3, 1)  # (N, H, W, C)
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    cropped = padded[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)  # (N, C, H, W)


def _draw(
    high: int, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Uniform integers in [0, high), drawn where the generator lives, moved to `device`."""
    draws = torch.randint(high, shape, generator=generator, device=generator.device)
    return draws.to(device, non_blocking=True)
