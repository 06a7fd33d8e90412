"""Pixels as text for pages: a picture, and many in one sheet."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(pixels: NDArray[np.uint8]) -> str:
    """(H, W, 3) RGB or (H, W) grey as the base64 text of a PNG."""
    return _text(Image.fromarray(pixels), compress_type=zlib.Z_DEFAULT_STRATEGY)


def sheet(tiles: NDArray[np.uint8]) -> str:
    """Grey tiles in rows and columns, (R, C, H, W), as one PNG, base64."""
    return png(_laid_out(tiles))


def change_sheet(tiles: NDArray[np.uint8]) -> str:
    """Tiles (R, C, H, W, 3) as one grey PNG, base64: red, green and blue stand side by side.

    With a palette, which PNG stores without guessing each pixel from its neighbours: between the
    steps of an attack there is nothing to guess, and it takes a tenth of the time.
    """
    *_, width, channels = tiles.shape
    lines = _laid_out(tiles.reshape(*tiles.shape[:3], width * channels))
    picture = Image.new("P", (lines.shape[1], lines.shape[0]))
    picture.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    picture.frombytes(lines.tobytes())
    return _text(picture, compress_type=zlib.Z_RLE)


def _laid_out(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(R, C, H, W) -> (R * H, C * W)"""
    rows, columns, height, width = tiles.shape
    return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(rows * height, columns * width)


def _text(picture: Image.Image, *, compress_type: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_type=compress_type)
    return base64.b64encode(buffer.getvalue()).decode()
