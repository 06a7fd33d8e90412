"""Any picture file to a small square of RGB pixels."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagefile import Picture, Remark, read_picture

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF", "AVIF")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".ppm", ".pgm", ".pbm",
    ".pnm", ".tif", ".tiff", ".gif", ".avif",
)  # fmt: skip
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".psd", ".tga", ".exr",
    ".hdr", ".dcm", ".nii", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".ico",
    ".npy", ".npz", ".pdf",
)  # fmt: skip
"""Of pictures that are not read, and are named as such."""


class Decoded(NamedTuple):
    """A picture as a dataset has it."""

    pixels: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    enlarged: bool
    """Whether the file had fewer pixels a side than that."""
    depth: int | None
    """Of a file with 16 bits a channel: how many of them are in use."""
    remarks: tuple[Remark, ...]


def decode_image(data: bytes, *, image_size: int) -> NDArray[np.uint8]:
    """The pixels of `decode_picture`, (image_size, image_size, 3) uint8 RGB."""
    return decode_picture(data, image_size=image_size).pixels


def decode_picture(data: bytes, *, image_size: int, depth: int | None = None) -> Decoded:
    """Decode a picture file to a square of `image_size` pixels a side.

    The picture is read as `read_picture` says, centre-cropped to a square and resized with a
    Lanczos filter; one that has the size already keeps its pixels.

    Args:
        depth: how many of 16 bits a channel are in use; without it, the picture's own levels say.

    Raises:
        UnreadableImageError: the file cannot be decoded, or has too many pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files
        picture = read_picture(data, formats=FORMATS, depth=depth)
    pixels = np.asarray(fitted(picture.rgb, image_size))
    return Decoded(pixels, _is_smaller(picture, image_size), picture.depth, picture.remarks)


def fitted(image: Image.Image, image_size: int) -> Image.Image:
    """The centre of an image as a square of `image_size` pixels a side."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((image_size, image_size), Image.Resampling.LANCZOS)


def _is_smaller(picture: Picture, image_size: int) -> bool:
    return min(picture.rgb.size) < image_size
