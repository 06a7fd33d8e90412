"""One picture file to a square of RGB pixels, whatever the file is."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagefile import UnreadableImageError
from tests.data.packing import encode, pixels
from worker.data import decode_image

ORIENTATION = 0x0112  # EXIF tag


def flat(colour: object, mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_pictures_of_the_right_size_keep_their_pixels(kind: str, image_size: int) -> None:
    original = pixels(0, image_size, image_size)
    data = encode(original, kind, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = decode_image(data, image_size=image_size)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, original)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_pictures_decode_to_colours_that_are_near(kind: str) -> None:
    decoded = decode_image(encode(flat((200, 60, 120)), kind, quality=90), image_size=32)
    assert np.abs(decoded.astype(int) - (200, 60, 120)).max() <= 4


@pytest.mark.parametrize(("height", "width"), [(32, 50), (50, 32), (33, 32), (32, 33)])
def test_the_centre_is_kept(height: int, width: int) -> None:
    original = pixels(1, height, width)
    top, left = (height - 32) // 2, (width - 32) // 2
    decoded = decode_image(encode(original), image_size=32)
    np.testing.assert_array_equal(decoded, original[top : top + 32, left : left + 32])


def test_shrinking_averages_and_does_not_alias() -> None:
    board = np.indices((128, 128)).sum(0) % 2 * 255  # one-pixel chequers: grey from afar
    decoded = decode_image(encode(board.astype(np.uint8)), image_size=32)
    assert np.abs(decoded.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 3)])
def test_tiny_pictures_are_enlarged(size: tuple[int, int]) -> None:
    decoded = decode_image(encode(flat((10, 200, 30), size=size)), image_size=64)
    assert decoded.shape == (64, 64, 3)
    assert (decoded == (10, 200, 30)).all()


@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a.swapaxes(0, 1), 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, seen: object) -> None:
    original = pixels(2)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode_image(encode(original, exif=exif), image_size=32)
    np.testing.assert_array_equal(decoded, seen(original))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat(90, "L"), (90, 90, 90)),
        (flat(1, "1"), (255, 255, 255)),
        (flat((90, 255), "LA"), (90, 90, 90)),
        (flat((90, 0), "LA"), (255, 255, 255)),
        (flat((10, 20, 30, 255), "RGBA"), (10, 20, 30)),
        (flat((10, 20, 30, 0), "RGBA"), (255, 255, 255)),
        (flat((0, 0, 0, 51), "RGBA"), (204, 204, 204)),
        (flat((10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 20, 30)),
        (Image.fromarray(np.full((40, 40), 0x5AFF, dtype=np.uint16)), (0x5A, 0x5A, 0x5A)),
    ],
    ids=["grey", "bilevel", "grey opaque", "grey clear", "opaque", "clear", "faint", "P", "16 bit"],
)
def test_every_kind_of_pixel_becomes_rgb(
    image: Image.Image, expected: tuple[int, int, int]
) -> None:
    assert (decode_image(encode(image), image_size=32) == expected).all()


def test_a_transparent_palette_entry_shows_white() -> None:
    image = flat(0, "P")
    image.putpalette([10, 20, 30])
    assert (decode_image(encode(image, transparency=0), image_size=32) == 255).all()


def test_cmyk_becomes_rgb() -> None:
    data = encode(flat((0, 255, 255, 0), "CMYK"), "JPEG", quality=95)
    assert np.abs(decode_image(data, image_size=32).astype(int) - (255, 0, 0)).max() <= 5


def test_an_animation_gives_its_first_frame() -> None:
    frames = [flat(colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert (decode_image(data, image_size=32) == (200, 0, 0)).all()


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size, with no pixels behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a PNG"),
        (b"<script>alert(1)</script>", "not a PNG"),
        (encode(pixels(0), "GIF"), "not a PNG"),
        (encode(pixels(0), "TIFF"), "not a PNG"),
        (encode(pixels(0))[:-200], "damaged"),
        (encode(pixels(0), "JPEG")[:-200], "damaged"),
        (encode(pixels(0), "WEBP")[:-200], "damaged"),
        (encode(pixels(0), "BMP")[:-200], "damaged"),
        (png_header(5001, 5000), "too large: 5001 × 5000"),
        (png_header(12_000, 12_000), "too large: 12000 × 12000"),
        (png_header(2**31 - 1, 2**31 - 1), "too large: far too many pixels"),
    ],
)
def test_unreadable_pictures_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, image_size=32)


@settings(max_examples=200)
@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
def test_any_damage_gives_a_picture_or_a_reason(
    kind: str, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(encode(flat((200, 60, 120), size=(48, 40)), kind))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        decoded = decode_image(bytes(data[: round(kept * len(data))]), image_size=32)
    except UnreadableImageError:
        return
    assert decoded.shape == (32, 32, 3)
