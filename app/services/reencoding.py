"""A picture from outside, decoded and written anew: nothing of the sent bytes is kept.

It runs in a process of its own (`app.services.readers`), which loads little more than this file.
"""

from __future__ import annotations

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.errors import InvalidInput, TooLarge, UnsupportedMedia
from imagefile import (
    MAX_PIXELS,
    REMARKS,
    Picture,
    TooManyPixelsError,
    UnknownFormatError,
    UnreadableImageError,
    read_picture,
)

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
_STORED_SIDE = 512
"""Side kept of the square that models see, of which they take at most 224 pixels."""


def as_png(data: bytes) -> bytes:
    """PNG bytes of the middle of the picture, and nothing else of the file; with it, in the lab's
    own words, what was decided about it.

    Raises UnsupportedMedia, TooLarge, InvalidInput.
    """
    found = _read(data)
    picture = _centre(found.rgb)
    picture.thumbnail((_STORED_SIDE, _STORED_SIDE), Image.Resampling.LANCZOS)
    picture.info.clear()  # colour profile, comments, EXIF
    said = PngInfo()
    if found.remarks:
        said.add_text(REMARKS, "; ".join(found.remarks))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def _centre(picture: Image.Image) -> Image.Image:
    """The square in the middle, which is what models see: a tall picture keeps its pixels so."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _read(data: bytes) -> Picture:
    try:
        return read_picture(data, formats=IMAGE_FORMATS)
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
