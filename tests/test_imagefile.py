"""A picture gives the same pixels as a live upload and in an archive: those worked out here."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.services import uploads
from app.services.lab import Lab
from imagefile import UnreadableImageError, read_picture
from tests.data.packing import import_files, train_and_test
from worker.data import decode_image

SIDE = 32
Pixels = NDArray[np.uint8]
RNG = np.random.default_rng(0)
COLOURS: Pixels = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
GREY: Pixels = COLOURS[..., 0]
ALPHA: Pixels = np.where(COLOURS[..., 1] < 128, 0, 255).astype(np.uint8)
DEEP = RNG.integers(0, 2**16, (SIDE, SIDE, 4), dtype=np.uint16)
DEEP[0, :6, :3] = np.array([0, 0x00FF, 0x0100, 0x5AFF, 0xFF00, 0xFFFF], np.uint16)[:, None]
DEEP_ALPHA = np.concatenate([DEEP[..., :3], np.where(DEEP[..., 3:] < 2**15, 0, 0xFFFF)], -1)
GREY_TYPE, RGB_TYPE, GREY_ALPHA_TYPE, RGBA_TYPE = 0, 2, 4, 6


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep_png(
    levels: NDArray[np.integer], colour_type: int, transparent: int | None = None
) -> bytes:
    """A PNG of 16 bits a channel, as its specification says; Pillow writes grey ones only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    named = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + named + pixels + chunk(b"IEND", b"")


def on_white(colours: NDArray[np.integer], alpha: NDArray[np.integer]) -> NDArray[np.integer]:
    """Where nothing is see-through by half."""
    return np.where(alpha[..., None] == 0, 255, colours)


def three(grey: NDArray[np.integer]) -> NDArray[np.integer]:
    return np.repeat(grey[..., None], 3, axis=-1)


def turned(kind: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = kind
    return exif


def palette(**options: object) -> tuple[bytes, NDArray[np.integer]]:
    table: Pixels = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    index = (GREY // 16).astype(np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(table.tobytes())
    image.putdata(index.ravel().tolist())
    shown = table[index]
    if "transparency" in options:
        shown = on_white(shown, index != options["transparency"])
    return encoded(image, **options), shown


CASES: dict[str, Callable[[], tuple[bytes, NDArray[np.integer]]]] = {
    "colours": lambda: (encoded(Image.fromarray(COLOURS)), COLOURS),
    "grey": lambda: (encoded(Image.fromarray(GREY)), three(GREY)),
    "two levels": lambda: (
        encoded(Image.fromarray(GREY > 99)), three(np.where(GREY > 99, 255, 0)),
    ),
    "16 bits of grey": lambda: (deep_png(DEEP[..., 0], GREY_TYPE), three(DEEP[..., 0] >> 8)),
    "16 bits of grey, one see-through": lambda: (
        deep_png(DEEP[..., 0], GREY_TYPE, transparent=0x5AFF),
        on_white(three(DEEP[..., 0] >> 8), DEEP[..., 0] != 0x5AFF),
    ),
    "16 bits of grey and alpha": lambda: (
        deep_png(DEEP_ALPHA[..., [0, 3]], GREY_ALPHA_TYPE),
        on_white(three(DEEP[..., 0] >> 8), DEEP_ALPHA[..., 3]),
    ),
    "16 bits of colours": lambda: (deep_png(DEEP[..., :3], RGB_TYPE), DEEP[..., :3] >> 8),
    "16 bits of colours and alpha": lambda: (
        deep_png(DEEP_ALPHA, RGBA_TYPE), on_white(DEEP[..., :3] >> 8, DEEP_ALPHA[..., 3]),
    ),
    "palette": palette,
    "palette, one see-through": lambda: palette(transparency=3),
    "grey and alpha": lambda: (
        encoded(Image.fromarray(np.stack([GREY, ALPHA], -1))), on_white(three(GREY), ALPHA),
    ),
    "colours and alpha": lambda: (
        encoded(Image.fromarray(np.concatenate([COLOURS, ALPHA[..., None]], -1))),
        on_white(COLOURS, ALPHA),
    ),
    "half see-through": lambda: (
        encoded(Image.new("RGBA", (SIDE, SIDE), (0, 100, 0, 51))),
        np.full((SIDE, SIDE, 3), (204, 224, 204)),
    ),
    "WebP": lambda: (encoded(Image.fromarray(COLOURS), "WEBP", lossless=True), COLOURS),
    "turned": lambda: (
        encoded(Image.fromarray(COLOURS), exif=turned(6)), np.rot90(COLOURS, -1),
    ),
    "turned, 16 bits": lambda: (
        encoded(Image.fromarray(DEEP[..., 0]), exif=turned(5)), three(DEEP[..., 0].T >> 8),
    ),
    "mirrored, see-through": lambda: (
        encoded(
            Image.fromarray(np.concatenate([COLOURS, ALPHA[..., None]], -1)), exif=turned(2)
        ),
        on_white(COLOURS, ALPHA)[:, ::-1],
    ),
}  # fmt: skip


def live(lab: Lab, data: bytes) -> Pixels:
    """What the models see of an upload."""
    upload = uploads.save_image(lab, io.BytesIO(data), "picture")
    return decode_image(lab.files.upload(upload).read_bytes(), image_size=SIDE)


@pytest.mark.parametrize("name", CASES)
def test_both_ways_into_the_lab_give_the_same_pixels(lab: Lab, name: str) -> None:
    data, expected = CASES[name]()
    np.testing.assert_array_equal(decode_image(data, image_size=SIDE), expected)
    np.testing.assert_array_equal(live(lab, data), expected)


def test_a_photograph_is_as_large_and_as_bright_on_both_ways(lab: Lab) -> None:
    """A JPEG with its orientation, taller than wide: decoding is not exact, but it is the same."""
    picture = Image.fromarray(COLOURS).resize((96, 60), Image.Resampling.BICUBIC)
    data = encoded(picture, "JPEG", quality=90, exif=turned(8))
    np.testing.assert_array_equal(live(lab, data), decode_image(data, image_size=SIDE))


def test_24_megapixels_are_taken_on_both_ways(lab: Lab, tmp_path: Path) -> None:
    """As a camera writes them: 6000 x 4000, of which the middle is shown."""
    squares = np.kron(COLOURS, np.ones((125, 125, 1), np.uint8))
    middle = Image.fromarray(squares).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    photograph = np.concatenate([squares[:, :1000], squares, squares[:, :1000]], axis=1)
    data = encoded(Image.fromarray(photograph), "JPEG", quality=95, subsampling=0)
    files = train_and_test(cat=2, dog=2) | {"test/cat/photograph.jpg": data}
    report, dataset = import_files(tmp_path, files)
    assert report.skipped == 0
    shown = (live(lab, data), decode_image(data, image_size=SIDE))  # pages keep a smaller picture
    np.testing.assert_allclose(*shown, atol=1)
    for seen in shown:
        assert np.abs(seen.astype(int) - np.asarray(middle))[1:-1, 1:-1].mean() < 1
    assert (dataset.arrays["test_images"] == shown[1]).all(axis=(1, 2, 3)).sum() == 1


def test_a_jpeg_of_endless_parts_is_not_decoded() -> None:
    """A byte between two parts takes as long as a pixel, and each scan goes over all pixels."""
    whole = encoded(Image.fromarray(COLOURS), "JPEG")
    assert read_picture(whole[:2] + b"\xff" * 60_000 + whole[2:], formats=("PNG", "JPEG"))
    scans = b"\xff\xda\0\x0c\x03" * 100
    for hostile in (whole[:2] + b"\xff" * 2**17 + whole[2:], whole + scans):
        with pytest.raises(UnreadableImageError, match="more parts"):
            read_picture(hostile, formats=("PNG", "JPEG"))


def test_a_photograph_with_a_film_behind_it_is_a_photograph() -> None:
    """In nine megabytes of anything the mark of a scan comes some 150 times."""
    whole = encoded(Image.fromarray(COLOURS), "JPEG")
    film = random.Random(0).randbytes(9 * 2**20)
    both, alone = (read_picture(data, formats=("PNG", "JPEG")) for data in (whole + film, whole))
    assert both == alone
