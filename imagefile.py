"""Picture files from outside, read by one rule: the service and the workers see the same pixels.

numpy and Pillow alone; it knows neither side.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

_DAMAGED = "damaged: cut short, or not written whole"
MAX_PIXELS = 25_000_000
"""A 24-megapixel photograph fits; decoded, it takes 75 MB."""
_SPELLED = {"WEBP": "WebP", "PPM": "PPM/PGM"}
_ORIENTATION = 0x0112  # EXIF tag
_INTEROPERABILITY, _INDEX, _ADOBE_RGB = 0xA005, 0x0001, "R03"  # as DCF has it
_BITS_PER_SAMPLE = 258  # TIFF tag
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG, _PNG_TEXTS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt")
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
"""Where one begins, of one to four colours. The first two bytes alone are in any film, and phones
keep one behind the picture."""
_MOST_SCANS = 100
"""A progressive picture of a camera or an editor has ten; each goes over all pixels."""
_FILL = b"\xff" * 2**16
"""More bytes that mean nothing than a segment has, each of which Pillow reads by itself."""
_FILLERS = (b"\x55" * 64, b"\xaa" * 64)  # alternating bits, of which each code needs others
_DEPTHS = (8, 12, 16)
_STARTS = {
    _PNG: "PNG", _JPEG: "JPEG",
    b"ftyphei": "HEIC", b"ftyphev": "HEIC", b"ftypmif1": "HEIC", b"ftypmsf1": "HEIC",
    b"JXL ": "JPEG XL", b"\xff\x0a": "JPEG XL", b"jP  ": "JPEG 2000",
    b"8BPS": "Photoshop", b"%PDF": "PDF", b"<svg": "SVG", b"GIF8": "GIF", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"ftypavif": "AVIF", b"<!DOCTYPE html": "HTML",
}  # fmt: skip
"""What a file begins with, at its start or behind the length of its first box.
Formats that are read have Pillow's names: a file that begins so, and that Pillow does not know, is
damaged."""


REMARKS = "Remarks"
"""The text of a stored PNG that holds what was decided about the picture it was made from."""


class Remark(StrEnum):
    """What was decided about a picture that people may want to know."""

    PROFILE = "converted to sRGB from a colour profile"
    PROFILE_UNREAD = "with a colour profile that cannot be read, taken as sRGB"
    ADOBE_RGB = "of Adobe RGB by EXIF alone, with no colour profile, taken as sRGB"
    NO_END = "without an end marker, but with every pixel"
    FIRST_OF_MANY = "with several pictures or frames, of which the first is taken"
    DEPTH_8 = "of 16 bits a channel that use 8, taken as 8-bit data"
    DEPTH_12 = "of 16 bits a channel that use 12, taken as 12-bit data"


class Picture(NamedTuple):
    """What a file shows."""

    rgb: Image.Image
    """Upright, of 8 bits a channel, in sRGB, over white where it is transparent."""
    depth: int | None
    """Of a file with 16 bits a channel: how many of them are in use, 8, 12 or 16."""
    remarks: tuple[Remark, ...]


class UnreadableImageError(ValueError):
    """A file that is not an image, or one that is damaged or too large. The message says which,
    `kind` in words that all files of one sort share."""

    kind = "damaged"


class UnknownRangeError(UnreadableImageError):
    """Numbers of which nobody says what is white."""

    def __init__(self, numbers: str) -> None:
        self.kind = f"of {numbers} whose range is not known"
        super().__init__(self.kind)


class UnknownFormatError(UnreadableImageError):
    """None of the formats that are read."""

    def __init__(self, formats: tuple[str, ...], found: str) -> None:
        *first, last = (_SPELLED.get(name, name) for name in formats)
        is_one = f", it is {found}" if found else ""
        super().__init__(f"not a {', '.join(first)} or {last} image{is_one}")
        self.kind = f"{found}, which is not read" if found else "not of a picture format"


class TooManyPixelsError(UnreadableImageError):
    """More than `MAX_PIXELS`; `count` says how many, in words."""

    kind = f"larger than {MAX_PIXELS // 10**6} million pixels"

    def __init__(self, count: str) -> None:
        super().__init__(f"too large: {count} pixels")
        self.count = count


def read_picture(data: bytes, *, formats: tuple[str, ...], depth: int | None = None) -> Picture:
    """What a file shows, in RGB of 8 bits.

    Turned as its EXIF orientation says, over white where it is transparent, and converted to sRGB
    where it has another colour profile. Of an animation the first picture. 16 bits are scaled to 8
    by how many of them the picture uses, the highest level deciding among 8, 12 and 16.

    Args:
        formats: Those that are read, by Pillow's names; at least two.
        depth: How many of 16 bits are in use, where that is known from elsewhere: 8, 12 or 16.

    Raises:
        UnreadableImageError: the file cannot be decoded, or has more than `MAX_PIXELS` pixels.
    """
    try:
        return _read(data, formats, depth)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        found = _format_by_start(data)
        if found in formats:
            raise UnreadableImageError(_DAMAGED) from error
        raise UnknownFormatError(formats, found) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError("far too many") from error
    except Exception as error:  # decoders of hostile bytes raise nearly anything
        raise UnreadableImageError(_DAMAGED) from error


def _read(data: bytes, formats: tuple[str, ...], depth: int | None) -> Picture:
    if data.startswith(_PNG):
        data = _without_texts(data)
    elif data.startswith(_JPEG) and (_has_many_scans(data) or _FILL in data):
        raise UnreadableImageError("damaged: of more parts than a picture has")
    remarks = []
    with Image.open(io.BytesIO(data), formats=formats) as opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:  # known from the header, before any pixel is decoded
            raise TooManyPixelsError(f"{width} × {height}")
        image: Image.Image = opened
        if opened.format not in ("MPO", "JPEG") and getattr(opened, "n_frames", 1) > 1:
            remarks.append(Remark.FIRST_OF_MANY)
        profile, turn = opened.info.get("icc_profile"), _orientation(opened)
        if profile is None and _is_adobe_rgb(opened):
            remarks.append(Remark.ADOBE_RGB)
        try:
            opened.load()
        except OSError:
            if not data.startswith(_JPEG):
                raise
            image = _with_end(data)
            remarks.append(Remark.NO_END)
        image, used = _of_8_bits(image, data, depth)
    if used in (8, 12):
        remarks.append(Remark.DEPTH_8 if used == 8 else Remark.DEPTH_12)
    if turn in _TURNED:
        image = image.transpose(_TURNED[turn])
    if profile is not None:
        image, said = _to_srgb(image, profile)
        remarks += said
    return Picture(_over_white(image), used, tuple(remarks))


def remarks_of(png: bytes) -> str:
    """What was decided about the picture that a stored PNG was made from; empty where nothing, and
    for a picture in another format, which the lab has not stored itself."""
    if not png.startswith(_PNG):
        return ""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return str(image.info.get(REMARKS, ""))


# A file that is only odd


def _has_many_scans(data: bytes) -> bool:
    return any(islice(_SCAN.finditer(data), _MOST_SCANS, None))


def _without_texts(data: bytes) -> bytes:
    """A PNG without its texts, of which Pillow bears only short ones."""
    kept, at = [_PNG], len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _PNG_TEXTS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _with_end(data: bytes) -> Image.Image:
    """A JPEG that lacks its end marker alone; its decoder would fill in pixels that are missing.

    What comes after the last pixel decides nothing, and what comes before it does: whatever bytes
    are put there, the pixels of a whole file are the same.
    """
    start = data.rstrip(b"\xff")
    image = _decoded_jpeg(start + _JPEG_END)
    for filler in _FILLERS:
        if _decoded_jpeg(start + filler + _JPEG_END).tobytes() != image.tobytes():
            raise UnreadableImageError(_DAMAGED)
    return image


def _decoded_jpeg(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.load()
        return image


def _orientation(image: Image.Image) -> int | None:
    """What EXIF says of it, in its first directory; None where it says nothing that can be read.

    Read here, since one tag of the wrong type or length makes Pillow forget them all.
    """
    block = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or image.format == "TIFF":  # Pillow turns that one itself
        return None
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, first)
        for number in range(count):
            entry = struct.unpack_from(f"{order}HHIH", block, first + 2 + 12 * number)
            if entry[:3] == (_ORIENTATION, 3, 1):  # one short number, as it has to be
                return int(entry[3])
    except struct.error:  # cut short
        pass
    return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    try:
        return image.getexif().get_ifd(_INTEROPERABILITY).get(_INDEX) == _ADOBE_RGB
    except Exception:
        return False


def _format_by_start(data: bytes) -> str:
    for magic, name in _STARTS.items():
        if data.startswith(magic) or data.startswith(magic, 4):
            return name
    return ""


# 16 bits


def _of_8_bits(
    image: Image.Image, data: bytes, depth: int | None
) -> tuple[Image.Image, int | None]:
    """The image with 8 bits a channel, and how many of 16 were in use; None where it had 8."""
    if image.mode == "F" or image.mode in ("I;16S", "I;32"):
        raise UnknownRangeError("floating-point numbers")
    if image.mode == "I" and image.format != "PPM":  # that one is scaled to 16 bits already
        raise UnknownRangeError("32-bit numbers")
    if image.format == "TIFF" and image.mode != "I;16":
        _check_tiff(image)
    levels = _deep_levels(image, data)
    if levels is None:
        return image, None
    used = 16 if image.format == "PPM" else depth or _depth_of(levels)
    grey = (levels >> (used - 8)).clip(0, 255).astype(np.uint8)
    if levels.ndim == 2:
        alpha = np.where(levels == image.info.get("transparency", -1), 0, 255).astype(np.uint8)
        return Image.fromarray(np.stack([grey, alpha], axis=-1)), used
    if levels.shape[-1] in (2, 4):  # opacity is always of all bits
        grey[..., -1] = levels[..., -1] >> 8
    return Image.fromarray(grey), used


def _deep_levels(image: Image.Image, data: bytes) -> NDArray[np.uint16] | None:
    """(H, W) of grey or (H, W, C), in 0..65535; None where the file has 8 bits a channel.

    Of colours Pillow keeps the upper byte alone; a PNG is decoded once more for the lower one.
    """
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    colour = data[25:26] if data.startswith(_PNG) and data[24:25] == b"\x10" else b""
    if colour == b"\x04":  # grey and opacity, four bytes a pixel
        both = np.asarray(_decoded_as(data, "LA;16B", "RGBA"))
        high, low = both[..., 0::2], both[..., 1::2]
    elif colour in (b"\x02", b"\x06"):
        high, low = np.asarray(image), np.asarray(_decoded_as(data, ";16B", ";16L"))
    else:
        return None
    levels = high.astype(np.uint16)
    levels <<= 8
    levels |= low
    return levels


def _decoded_as(data: bytes, declared: str, instead: str) -> Image.Image:
    """A PNG whose bytes are laid out otherwise than its header says."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        (tile,) = image.tile
        image.tile = [tile._replace(args=str(tile.args).replace(declared, instead))]
        image.load()
        return image


def _check_tiff(image: Image.Image) -> None:
    """Of 16 bits a colour Pillow gives the upper eight: those have to be in use."""
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
    if max(bits) > 8 and np.asarray(image)[..., :3].max() < 16:
        raise UnreadableImageError("of 16 bits a channel, of which only the lowest are in use")


def _depth_of(levels: NDArray[np.uint16]) -> int:
    colours = levels[..., :-1] if levels.ndim == 3 and levels.shape[-1] in (2, 4) else levels
    highest = int(colours.max())
    return next(depth for depth in _DEPTHS if highest < 2**depth)


# Colours


def _to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, tuple[Remark, ...]]:
    """By the file's colour profile, and what is to be said of it."""
    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(theirs).casefold():
            return image, ()
        space = str(theirs.profile.xcolor_space).strip()
        planes = list(_planes(image, space))
        out = ImageCms.profileToProfile(
            planes[0], theirs, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert out is not None
    except (ImageCms.PyCMSError, ValueError, KeyError, OSError):
        return image, (Remark.PROFILE_UNREAD,)
    for alpha in planes[1:]:
        out.putalpha(alpha)
    return out, (Remark.PROFILE,)


def _planes(image: Image.Image, space: str) -> Iterator[Image.Image]:
    """Colours in the space of a profile, and opacity where there is any."""
    mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
    fits = {"RGB": ("L", "LA", "1", "P", "PA", "RGB", "RGBA"), "L": ("L", "LA"), "CMYK": ("CMYK",)}
    if image.mode not in fits[mode]:
        raise ValueError(f"a profile of {space} for an image of {image.mode}")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        yield over.convert("RGB").convert(mode)
        yield over.getchannel("A")
    else:
        yield image.convert(mode)


def _over_white(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")
