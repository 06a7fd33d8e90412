"""Every format of pictures by the suffix of its files, in an archive and as a live upload."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import UnsupportedMedia
from app.services import uploads
from app.services.lab import Lab
from tests.data.packing import import_files, pixels, train_and_test
from worker.data import decode_image
from worker.data.images import SUFFIXES, UNREAD_SUFFIXES

SMOOTH = Image.fromarray(pixels(1, 4, 4)).resize((32, 32), Image.Resampling.BICUBIC)
BOTH_WAYS = {
    ".png": "PNG", ".webp": "WEBP",
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
}  # fmt: skip
ARCHIVES_ALONE = {
    ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF", ".avif": "AVIF",
    ".ppm": "PPM", ".pnm": "PPM", ".pgm": "PPM", ".pbm": "PPM",
}  # fmt: skip
MODES = {".pgm": "L", ".pbm": "1"}
BOX = b"\0\0\0\x0c"
BY_NAME = {
    ".heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    ".heif": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
    ".jxl": (BOX + b"JXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    ".jp2": (BOX + b"jP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
    ".psd": (b"8BPS\0\1" + bytes(60), "Photoshop"),
    ".svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ".pdf": (b"%PDF-1.7\n" + bytes(60), "PDF"),
}
"""Of formats that are told by how they begin, whatever they are called."""


def written(suffix: str) -> bytes:
    buffer = io.BytesIO()
    kind = (BOTH_WAYS | ARCHIVES_ALONE)[suffix]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "AVIF" else {}
    SMOOTH.convert(MODES.get(suffix, "RGB")).save(buffer, kind, **options)
    return buffer.getvalue()


def shown(suffix: str) -> np.ndarray:
    return np.asarray(SMOOTH.convert(MODES.get(suffix, "RGB")).convert("RGB")).astype(int)


def test_every_suffix_is_tried_here() -> None:
    assert {*SUFFIXES} == {*BOTH_WAYS, *ARCHIVES_ALONE}
    assert {*BY_NAME} <= {*UNREAD_SUFFIXES}


@pytest.mark.parametrize("suffix", [*BOTH_WAYS, *ARCHIVES_ALONE])
def test_pictures_of_a_format_that_is_read_show_what_they_show(tmp_path: Path, suffix: str) -> None:
    files = train_and_test(cat=3, dog=3) | {f"train/cat/one{suffix.upper()}": written(suffix)}
    report, dataset = import_files(tmp_path, files)
    assert (report.skipped, report.left_out) == (0, {})
    off = np.abs(dataset.arrays["train_images"].astype(int) - shown(suffix)).mean(axis=(1, 2, 3))
    most = 12 if suffix in (".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".avif") else 0
    assert off.min() <= most
    assert (off > 30).sum() == 6, "the others"


@pytest.mark.parametrize("suffix", BOTH_WAYS)
def test_a_live_upload_takes_what_browsers_send(lab: Lab, suffix: str) -> None:
    data = written(suffix)
    upload = uploads.save_image(lab, io.BytesIO(data), f"one{suffix}")
    seen = decode_image(lab.files.upload(upload).read_bytes(), image_size=32)
    np.testing.assert_array_equal(seen, decode_image(data, image_size=32))


@pytest.mark.parametrize("suffix", ARCHIVES_ALONE)
def test_a_live_upload_of_another_format_names_those_that_it_takes(lab: Lab, suffix: str) -> None:
    with pytest.raises(UnsupportedMedia, match="not a PNG, JPEG or WebP image"):
        uploads.save_image(lab, io.BytesIO(written(suffix)), f"one{suffix}")


@pytest.mark.parametrize("suffix", BY_NAME)
def test_pictures_of_a_format_that_is_not_read_are_named_on_both_ways(
    lab: Lab, tmp_path: Path, suffix: str
) -> None:
    data, name = BY_NAME[suffix]
    whole = train_and_test(cat=3, dog=3)
    report, _ = import_files(tmp_path, whole | {f"train/cat/one{suffix}": data})
    assert report.left_out == {f"{suffix[1:].upper()} files, which are not read": 1}
    report, _ = import_files(tmp_path / "renamed", whole | {"train/cat/one.jpg": data})
    assert report.left_out == {f"pictures that are {name}, which is not read": 1}
    with pytest.raises(UnsupportedMedia, match=f"it is {name}"):
        uploads.save_image(lab, io.BytesIO(data), f"one{suffix}")


@pytest.mark.parametrize("suffix", [s for s in UNREAD_SUFFIXES if s not in BY_NAME])
def test_files_of_other_formats_are_left_out_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    files = train_and_test(cat=3, dog=3) | {f"train/cat/one{suffix}": bytes(100)}
    files |= {"train/cat/two.png": bytes(100)}
    if suffix in (".npy", ".npz"):
        files |= {f"train/dog/three{suffix}": bytes(100)}
    report, _ = import_files(tmp_path, files)
    count = 2 if suffix in (".npy", ".npz") else 1
    assert report.left_out == {
        f"{suffix[1:].upper()} files, which are not read": count,
        "pictures that are not of a picture format": 1,
    }


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_picture_under_another_suffix_is_what_it_holds(
    lab: Lab, tmp_path: Path, suffix: str
) -> None:
    for held in (".png", ".jpg", ".webp"):
        files = train_and_test(cat=3, dog=3) | {f"train/cat/one{suffix}": written(held)}
        report, dataset = import_files(tmp_path / held[1:], files)
        assert report.skipped == 0
        off = np.abs(dataset.arrays["train_images"].astype(int) - shown(held))
        assert off.mean(axis=(1, 2, 3)).min() <= 12
        uploads.save_image(lab, io.BytesIO(written(held)), f"one{suffix}")
