"""Pixels as PNG text for pages: the image itself, and a change around grey."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def diverging(change: NDArray[np.float64], span: float) -> NDArray[np.uint8]:
    """A change (H, W, 3) in [-span, span], beyond it clipped, as pixels, channel by channel.

    128 is no change, 1 is -span and 255 is +span.
    """
    return np.rint(128 + 127 * np.clip(change / span, -1, 1)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> str:
    """(H, W, 3) RGB as the base64 text of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
