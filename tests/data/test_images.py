"""One picture file to a square of RGB pixels, whatever the file is."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from imagefile import Remark, UnreadableImageError
from tests.data.packing import encode, pixels
from tests.test_imagefile import SIDE, deep_png
from worker.data import decode_image
from worker.data.images import Decoded, decode_picture

ORIENTATION = 0x0112  # EXIF tag


def flat(colour: object, mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "PPM", "TIFF"])
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
        (encode(pixels(0), "ICO"), "not a PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC"),
        (b"8BPS" + bytes(40), "it is Photoshop"),
        *(
            (encode(pixels(0), kind)[:-200], "^damaged: cut short, or not written whole$")
            for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
        ),
        *(
            (encode(pixels(0), kind)[:24], "^damaged: cut short, or not written whole$")
            for kind in ("PNG", "GIF", "TIFF", "AVIF")
        ),
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


def test_avif_and_gif_are_read() -> None:
    two = Image.fromarray(np.where(pixels(1) > 127, 255, 0).astype(np.uint8)[..., 0])
    shown = np.asarray(two.convert("RGB"))
    np.testing.assert_array_equal(decode_image(encode(two, "GIF"), image_size=32), shown)
    near = decode_image(encode(flat((200, 60, 120)), "AVIF", quality=95), image_size=32)
    assert np.abs(near.astype(int) - (200, 60, 120)).max() <= 4


# What is odd, and no damage


def decoded(data: bytes, **options: int) -> Decoded:
    return decode_picture(data, image_size=32, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_without_its_end_marker_is_whole(options: dict[str, object]) -> None:
    data = encode(pixels(4, 96, 128), "JPEG", **options)
    whole = decoded(data)
    assert whole.remarks == ()
    for cut in (1, 2):
        found = decoded(data[:-cut])
        assert found.remarks == (Remark.NO_END,)
        np.testing.assert_array_equal(found.pixels, whole.pixels)
    for cut in (4, 5, 9, 40, 400):
        with pytest.raises(UnreadableImageError, match="damaged"):
            decoded(data[:-cut])


def test_a_png_with_long_texts_is_whole() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", "x" * 5_000_000, zip=True)
    texts.add_itxt("more", "y" * 5_000_000)
    original = pixels(4)
    data = encode(original, pnginfo=texts)
    np.testing.assert_array_equal(decoded(data).pixels, original)
    np.testing.assert_array_equal(decoded(data[:-12]).pixels, original)  # without its IEND


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """One directory of EXIF: tag, type and count as TIFF numbers them, and four bytes of value."""
    found = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in entries:
        found += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return found + bytes(4)


SHORT, TEXT, RATIONAL, UNDEFINED = 3, 2, 5, 7


@pytest.mark.parametrize(
    ("kind", "value"),
    [(SHORT, b"\6"), (TEXT, b"6"), (UNDEFINED, b"\6"), (SHORT, b"\x63"), (RATIONAL, b"\xff\xff")],
)
def test_mistyped_exif_tags_are_no_damage(kind: int, value: bytes) -> None:
    original = pixels(4)
    maker = (0x010F, RATIONAL, 1, b"\xff\xff\xff\x7f")  # a name that is no text, far behind the end
    block = exif_block(maker, (ORIENTATION, kind, 1, value))
    found = decoded(encode(original, exif=block)).pixels
    expected = np.rot90(original, -1) if (kind, value) == (SHORT, b"\6") else original
    np.testing.assert_array_equal(found, expected)


def test_adobe_rgb_by_exif_alone_is_said() -> None:
    inner = 8 + 2 + 12 + 4  # where the next directory begins
    directories = (
        exif_block((0x8769, 4, 1, struct.pack("<I", inner)))
        + struct.pack("<HHHIII", 1, 0xA005, 4, 1, inner + 18, 0)
        + struct.pack("<HHHI4sI", 1, 1, TEXT, 4, b"R03\0", 0)
    )
    assert decoded(encode(pixels(4), exif=directories)).remarks == (Remark.ADOBE_RGB,)


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize(
    ("depth", "said"), [(8, (Remark.DEPTH_8,)), (12, (Remark.DEPTH_12,)), (16, ())]
)
def test_16_bits_are_scaled_by_those_in_use(
    colour_type: int, depth: int, said: tuple[Remark, ...]
) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    levels = np.random.default_rng(5).integers(0, 2**depth, (SIDE, SIDE, channels))
    levels[0, 0] = 2**depth - 1
    if channels in (2, 4):
        levels[..., -1] = 0xFFFF
    found = decoded(deep_png(levels, colour_type))
    assert (found.depth, found.remarks) == (depth, said)
    colours = levels[..., :3] if channels > 2 else np.repeat(levels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(found.pixels, colours >> (depth - 8))


def test_a_depth_that_is_known_is_not_guessed() -> None:
    levels = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 1))
    found = decoded(deep_png(levels, 0), depth=12)
    np.testing.assert_array_equal(found.pixels[..., 0], levels[..., 0] >> 4)


def test_numbers_of_an_unknown_range_are_refused() -> None:
    floats = Image.fromarray(np.random.default_rng(5).random((40, 40)).astype(np.float32))
    with pytest.raises(UnreadableImageError, match="range is not known"):
        decoded(encode(floats, "TIFF"))


def test_the_first_of_many_pictures_is_said() -> None:
    frames = [flat(colour) for colour in ((200, 0, 0), (0, 200, 0))]
    for kind in ("GIF", "TIFF", "PNG"):
        found = decoded(encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert found.remarks == (Remark.FIRST_OF_MANY,)
        assert (found.pixels == (200, 0, 0)).all()
