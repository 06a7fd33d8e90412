"""JPEG compression as libjpeg does it by default: 4:2:0, the standard's tables, whole numbers.

It also rounds as libjpeg does: images that were JPEG before are full of ties.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8

# ITU-T T.81, annex K, tables K.1 and K.2: one row for each vertical frequency.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
# JFIF 1.02: from red, green and blue to Y, Cb and Cr, the latter two around 0.
_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] as they come back from a JPEG file, in steps of 1/255.

    Args:
        quality: 1 to 100, in the scale of libjpeg.

    Raises:
        ValueError: a quality outside these bounds.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is from 1 to 100, not {quality}")
    height, width = x.shape[2:]
    matrix = x.new_tensor(_YCBCR)
    ycc = _rounded(torch.einsum("ij,njhw->nihw", matrix, (255 * x).round()))
    luma = _coded(ycc[:, :1] - 128, _table(_LUMINANCE, quality, x)) + 128
    chroma = _coded(_halved(ycc[:, 1:]), _table(_CHROMINANCE, quality, x))
    chroma = _doubled(chroma[:, :, : (height + 1) // 2, : (width + 1) // 2])
    ycc = torch.cat([luma[:, :, :height, :width], chroma[:, :, :height, :width]], dim=1)
    rgb = torch.einsum("ij,njhw->nihw", matrix.inverse(), ycc)
    return _rounded(rgb).clamp(0, 255) / 255


def _rounded(numbers: Tensor) -> Tensor:
    return (numbers + 0.5).floor()


def _halved(channels: Tensor) -> Tensor:
    """Means of 2 by 2 pixels, halves rounded down and up in turn; as many columns as blocks need.

    (N, c, H, W) -> (N, c, H / 2, W / 2), both rounded up.
    """
    channels = _filled(channels, rows=2, columns=2 * BLOCK)
    means = F.avg_pool2d(channels, 2)
    turns = means.new_tensor([0.25, 0.5]).repeat(means.shape[3] // 2)
    return (means + turns).floor()


def _doubled(channels: Tensor) -> Tensor:
    """Linear between the pixels; halves are rounded up and down in turn, (N, c, 2 H, 2 W)."""
    wide = F.interpolate(channels, scale_factor=2, mode="bilinear", align_corners=False)
    turns = wide.new_tensor([8 / 16, 7 / 16]).repeat(channels.shape[3])
    return (wide + turns).floor()


def _filled(channels: Tensor, rows: int, columns: int) -> Tensor:
    """Up to multiples of so many rows and columns, by repeating the last ones."""
    bottom, right = -channels.shape[2] % rows, -channels.shape[3] % columns
    return F.pad(channels, (0, right, 0, bottom), mode="replicate")


def _coded(channels: Tensor, table: Tensor) -> Tensor:
    """Each block's cosine transform rounded to multiples of the table, and back; whole blocks."""
    channels = _filled(channels, BLOCK, BLOCK)
    n, c, height, width = channels.shape
    shape = (n, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = channels.reshape(shape).transpose(3, 4)  # (N, c, H / 8, W / 8, 8, 8)
    basis = _cosines(channels)
    scaled = _rounded(8 * (basis @ blocks @ basis.T)) / (8 * table)  # libjpeg keeps three bits
    kept = table * scaled.sign() * _rounded(scaled.abs())
    blocks = _rounded(basis.T @ kept @ basis).clamp(-128, 127)
    return blocks.transpose(3, 4).reshape(channels.shape)


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal discrete cosine transform of 8 points, (frequency, point)."""
    points = torch.arange(BLOCK, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi / BLOCK * points[:, None] * (points + 0.5))
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / BLOCK)


def _table(base: tuple[tuple[int, ...], ...], quality: int, like: Tensor) -> Tensor:
    """The steps of quantisation, (8, 8), as libjpeg scales them: 50 leaves the table as it is."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = [[min(max((step * percent + 50) // 100, 1), 255) for step in row] for row in base]
    return like.new_tensor(steps)
