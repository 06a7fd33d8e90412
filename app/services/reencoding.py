"""A picture from outside, decoded and written anew: nothing of the sent bytes is kept.

It runs in a process of its own (`app.services.readers`), which loads little more than this file.
"""

from __future__ import annotations

import io

from PIL import Image

from app.errors import InvalidInput, TooLarge, UnsupportedMedia
from imagefile import (
    MAX_PIXELS,
    TooManyPixelsError,
    UnknownFormatError,
    UnreadableImageError,
    read_rgb,
)

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
_STORED_SIDE = 512
"""Longest side kept; models see at most 64 pixels, and pages need no more."""


def as_png(data: bytes) -> bytes:
    """PNG bytes of the picture, and nothing else of the file.

    Raises UnsupportedMedia, TooLarge, InvalidInput.
    """
    picture = _read(data)
    picture.thumbnail((_STORED_SIDE, _STORED_SIDE), Image.Resampling.LANCZOS)
    picture.info.clear()  # colour profile, comments, EXIF
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _read(data: bytes) -> Image.Image:
    try:
        return read_rgb(data, formats=IMAGE_FORMATS)
    except UnknownFormatError as error:
        raise UnsupportedMedia(
            f"The file is {error}.", hint="Send one of these formats.", field="image"
        ) from None
    except TooManyPixelsError as error:
        raise TooLarge(
            f"The image has {error.count} pixels.",
            hint=f"At most {MAX_PIXELS // 10**6} million pixels are accepted.",
            field="image",
        ) from None
    except UnreadableImageError as error:
        raise InvalidInput(
            "The image is damaged and cannot be decoded.",
            hint="Open it in an image editor and save it again.",
            field="image",
        ) from error
