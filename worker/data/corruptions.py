"""Common corruptions (Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261): a control.

A defence against small worst cases should also stand plain noise, blur and compression. Severities
are those that the authors publish for CIFAR-10-C, so for images of about 32 pixels: blur and blocks
are measured in pixels. Values stay as they are, where CIFAR-10-C cuts them to 8 bit; but for JPEG.

Left out are the corruptions that need pictures or drawing routines (frost, snow, fog, ...).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(x: Tensor, name: str, severity: int, *, generator: torch.Generator) -> Tensor:
    """The images (N, 3, H, W), corrupted, in [0, 1] and in the layout of x.

    Args:
        x: colour images (N, 3, H, W) in [0, 1].
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        generator: of noise, on x's device; the other corruptions draw nothing.

    Raises:
        ValueError: an argument outside these bounds.
    """
    if name not in _CORRUPTIONS:
        raise ValueError(f"name is one of {', '.join(CORRUPTIONS)}, not {name!r}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is from 1 to 5, not {severity}")
    if x.dim() != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(f"x must be float images (N, 3, H, W), not {x.dtype} {tuple(x.shape)}")
    apply, constants = _CORRUPTIONS[name]
    with torch.no_grad():
        corrupted = apply(x, constants[severity - 1], generator)
    return torch.empty_like(x).copy_(corrupted.clamp(0, 1))


def _gaussian_noise(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return x + deviation * noise


def _shot_noise(x: Tensor, photons: int, generator: torch.Generator) -> Tensor:
    """The noise of counting: white is so many photons on average."""
    return torch.poisson(photons * x, generator) / photons


def _impulse_noise(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """This share of all values becomes 0 or 1, as often the one as the other."""
    chance = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    peppered = torch.where(chance < share / 2, 0.0, x)
    return torch.where(chance > 1 - share / 2, 1.0, peppered)


def _gaussian_blur(x: Tensor, deviation: float, _: torch.Generator) -> Tensor:
    """Cut at four standard deviations; what lies beyond the edge repeats it."""
    radius = int(4 * deviation + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-(offsets**2) / (2 * deviation**2))
    kernel = (weights / weights.sum()).expand(3, 1, 1, -1)  # one for each channel
    wide = F.pad(x, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def _brightness(x: Tensor, more: float, _: torch.Generator) -> Tensor:
    """Adds to the value of HSV: hue and saturation stay."""
    value = x.amax(dim=1, keepdim=True)
    brighter = (value + more).clamp(max=1)
    return torch.where(value > 0, x / torch.where(value > 0, value, 1.0), 1.0) * brighter


def _contrast(x: Tensor, share: float, _: torch.Generator) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * share + mean


def _saturation(x: Tensor, change: tuple[float, float], _: torch.Generator) -> Tensor:
    """S' = factor S + offset in HSV. With V fixed each channel is V (1 - S k), k fixed by the hue.

    Grey has no hue; like the authors' code this takes it for red, k = (0, 1, 1).
    """
    factor, offset = change
    value = x.amax(dim=1, keepdim=True)
    chroma = value - x.amin(dim=1, keepdim=True)
    saturation = chroma / torch.where(value > 0, value, 1.0)
    red = x.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    k = torch.where(chroma > 0, (value - x) / torch.where(chroma > 0, chroma, 1.0), red)
    return value * (1 - (factor * saturation + offset).clamp(0, 1) * k)


def _pixelate(x: Tensor, share: float, _: torch.Generator) -> Tensor:
    """Shrunk to this share of its sides and back, by the mean of the pixels under each new one."""
    rows, columns = (_there_and_back(side, share, x) for side in x.shape[2:])
    return rows @ x @ columns.T


def _there_and_back(side: int, share: float, like: Tensor) -> Tensor:
    small = max(int(share * side), 1)
    return _box_filter(side, small, like) @ _box_filter(small, side, like)


def _box_filter(size: int, from_size: int, like: Tensor) -> Tensor:
    """Weights (size, from_size) of the pixels whose centres lie under each new pixel."""
    width = from_size / size
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * width
    offsets = torch.arange(from_size, dtype=torch.float64) + 0.5 - centres[:, None]
    reach = max(width, 1) / 2
    under = ((offsets > -reach) & (offsets <= reach)).to(like)
    return under / under.sum(dim=1, keepdim=True)


def _jpeg(x: Tensor, quality: int, _: torch.Generator) -> Tensor:
    """Cut to 8 bit, and through a file, image by image, with what Pillow does by default."""
    pixels = (255 * x).round().byte().permute(0, 2, 3, 1).cpu().numpy()  # (N, H, W, 3)
    decoded = np.stack([as_jpeg(image, quality) for image in pixels])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(x) / 255


def as_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(H, W, 3), stored as JPEG as most programs do (4:2:0), and read again."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer, formats=["JPEG"]) as read:
        return np.asarray(read)


_Corruption = tuple[Callable[[Tensor, Any, torch.Generator], Tensor], tuple[Any, ...]]

_CORRUPTIONS: dict[str, _Corruption] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (_brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": (_contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),
    "saturation": (_saturation, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
    "pixelate": (_pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
}
"""What is done, and its constants from severity 1 to 5."""

CORRUPTIONS: tuple[str, ...] = tuple(_CORRUPTIONS)
