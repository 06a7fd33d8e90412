"""Pictures with a colour profile are converted to sRGB, in archives and live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.services.lab import Lab
from imagefile import Remark
from tests.data.colour_spaces import ADOBE_RGB, DISPLAY_P3, Space
from tests.data.packing import encode, import_files, pixels
from tests.test_imagefile import live
from worker.data.images import decode_picture

SPACES = pytest.mark.parametrize("space", [ADOBE_RGB, DISPLAY_P3], ids=lambda space: space.name)


def colours(seed: int) -> np.ndarray:
    """Well within every space."""
    return pixels(seed) // 2 + 64


@SPACES
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_colour_profile_is_converted_to_srgb(kind: str, space: Space) -> None:
    original = colours(3)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(original, kind, icc_profile=space.profile, **options)
    found = decode_picture(data, image_size=32)
    assert found.remarks == (Remark.PROFILE,)
    shift = np.abs(original - space.to_srgb(original)).max(axis=(1, 2))
    assert np.median(shift) > 8  # as much as a usual budget
    np.testing.assert_allclose(found.pixels, space.to_srgb(original), atol=1.5)


@SPACES
def test_it_is_converted_in_archives_and_counted(tmp_path: Path, space: Space) -> None:
    files = {
        f"{part}/{name}/{number}.png": encode(
            colours(number + 9 * (name == "dog")), icc_profile=space.profile
        )
        for part, numbers in (("train", range(3)), ("test", range(3, 5)))
        for name in ("cat", "dog")
        for number in numbers
    }
    report, dataset = import_files(tmp_path, files)
    assert "Pictures converted to sRGB from a colour profile: 10." in report.notes
    images, labels = (dataset.arrays[f"test_{what}"] for what in ("images", "labels"))
    found = np.concatenate([images[labels == label] for label in (0, 1)])
    expected = np.stack([space.to_srgb(colours(seed)) for seed in (3, 4, 12, 13)])
    np.testing.assert_allclose(found, expected, atol=1.5)


@SPACES
def test_it_is_converted_live(lab: Lab, space: Space) -> None:
    seen = live(lab, encode(colours(3), icc_profile=space.profile))
    np.testing.assert_allclose(seen, space.to_srgb(colours(3)), atol=1.5)


def test_a_profile_keeps_what_is_see_through() -> None:
    levels = np.concatenate([pixels(3), np.full((32, 32, 1), 255, np.uint8)], axis=-1)
    levels[:, :9, 3] = 0
    data = encode(levels, icc_profile=ADOBE_RGB.profile)
    found = decode_picture(data, image_size=32).pixels
    assert (found[:, :9] == 255).all()
    np.testing.assert_allclose(found[:, 9:], ADOBE_RGB.to_srgb(levels[:, 9:, :3]), atol=1.5)


def test_srgb_and_unreadable_profiles_leave_pixels_alone() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    original = pixels(3)
    for profile, said in ((srgb, ()), (b"no profile", (Remark.PROFILE_UNREAD,))):
        found = decode_picture(encode(original, icc_profile=profile), image_size=32)
        assert found.remarks == said
        np.testing.assert_array_equal(found.pixels, original)


def test_grey_with_a_profile_of_colours_stays_grey() -> None:
    data = encode(Image.fromarray(pixels(3)[..., 0]), icc_profile=ADOBE_RGB.profile)
    found = decode_picture(data, image_size=32).pixels
    assert np.ptp(found.astype(int), axis=-1).max() <= 1
