"""Any picture file to a small square of RGB pixels."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 25_000_000  # a 24-megapixel photograph fits; decoded, it takes 75 MB


class UnreadableImageError(ValueError):
    """A file that is not an image, or one that is damaged or too large. The message says which."""


def decode_image(data: bytes, *, image_size: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG, WebP or BMP file to (image_size, image_size, 3) uint8 RGB.

    The picture is turned as its EXIF orientation says, centre-cropped to a square and resized with
    a Lanczos filter; one that has the size already keeps its pixels. Transparent parts are shown
    over white, 16-bit grey keeps its upper byte, an animation gives its first frame.

    Raises:
        UnreadableImageError: the file cannot be decoded, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with _strict_pillow(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # known from the header, before any pixel is decoded
                raise UnreadableImageError(f"too large: {width} by {height} pixels")
            square = _centre_square(ImageOps.exif_transpose(image))
            return np.asarray(
                _to_rgb(square).resize((image_size, image_size), Image.Resampling.LANCZOS)
            )
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a PNG, JPEG, WebP or BMP image") from error
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise UnreadableImageError(f"damaged: {error}") from error


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Make Pillow's decompression-bomb warning an error, and keep its other remarks to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _centre_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values at 255
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")
