"""Any picture file to a small square of RGB pixels."""

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefile import read_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def decode_image(data: bytes, *, image_size: int) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG, WebP or BMP file to (image_size, image_size, 3) uint8 RGB.

    The picture is read as `read_rgb` says, centre-cropped to a square and resized with a Lanczos
    filter; one that has the size already keeps its pixels.

    Raises:
        UnreadableImageError: the file cannot be decoded, or has too many pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files
        picture = read_rgb(data, formats=FORMATS)
    square = _centre_square(picture)
    return np.asarray(square.resize((image_size, image_size), Image.Resampling.LANCZOS))


def _centre_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
