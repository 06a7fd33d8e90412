"""Picture files from outside, read by one rule: the service and the workers see the same pixels.

numpy and Pillow alone; it knows neither side.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 25_000_000
"""A 24-megapixel photograph fits; decoded, it takes 75 MB."""
_SPELLED = {"WEBP": "WebP"}


class UnreadableImageError(ValueError):
    """A file that is not an image, or one that is damaged or too large. The message says which."""


class UnknownFormatError(UnreadableImageError):
    """None of the formats that are read."""

    def __init__(self, formats: tuple[str, ...]) -> None:
        *first, last = (_SPELLED.get(name, name) for name in formats)
        super().__init__(f"not a {', '.join(first)} or {last} image")


class TooManyPixelsError(UnreadableImageError):
    """More than `MAX_PIXELS`; `count` says how many, in words."""

    def __init__(self, count: str) -> None:
        super().__init__(f"too large: {count} pixels")
        self.count = count


def read_rgb(data: bytes, *, formats: tuple[str, ...]) -> Image.Image:
    """What a file shows, in RGB of 8 bits.

    Turned as its EXIF orientation says, and over white where it is transparent. Of 16 bits the
    upper 8 are kept, and of an animation the first picture.

    Args:
        formats: Those that are read, by Pillow's names; at least two.

    Raises:
        UnreadableImageError: the file cannot be decoded, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # known from the header, before any pixel is decoded
                raise TooManyPixelsError(f"{width} × {height}")
            return _rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnknownFormatError(formats) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError("far too many") from error
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise UnreadableImageError(f"damaged: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _of_16_bits(image).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _of_16_bits(image: Image.Image) -> Image.Image:
    """From grey, which Pillow would clip at 255; of colours it keeps the upper byte itself."""
    levels = np.asarray(image).astype(np.int64)
    grey = (levels >> 8).clip(0, 255).astype(np.uint8)
    grey[levels == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)
