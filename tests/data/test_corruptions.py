"""Common corruptions against Pillow, torchvision, the standard library and the definitions."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg

from tests.attacks.oracle import seeded
from worker.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt

DRAWN = ("gaussian_noise", "shot_noise", "impulse_noise")


def pictures(n: int = 4, height: int = 32, width: int = 32) -> Tensor:
    """Smooth colours with an edge and some grain, on the levels of 8 bit, (N, 3, H, W)."""
    generator = seeded(3)
    rows = torch.linspace(0, 1, height).view(1, 1, -1, 1)
    columns = torch.linspace(0, 1, width).view(1, 1, 1, -1)
    phase = 6 * torch.rand(n, 3, 1, 1, generator=generator)
    waves = 0.5 + 0.3 * torch.sin(5 * rows + phase) * torch.cos(4 * columns + phase)
    edge = 0.3 * (rows + columns > 1)
    grain = 0.05 * torch.randn(n, 3, height, width, generator=generator)
    return ((waves + edge + grain).clamp(0, 1) * 255).round() / 255


def corrupted(x: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    return corrupt(x, name, severity, generator=seeded(seed))


def to_pillow(x: Tensor) -> list[Image.Image]:
    return [Image.fromarray((255 * one).round().byte().permute(1, 2, 0).numpy()) for one in x]


def from_pillow(images: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in images]) / 255


def test_the_corruptions_are_those_that_the_lab_names() -> None:
    assert CORRUPTIONS == (
        "gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "brightness",
        "contrast", "saturation", "pixelate", "jpeg",
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "saturation"])
def test_images_move_farther_away_as_severity_rises(name: str) -> None:
    x = pictures(8)
    distances = [(corrupted(x, name, s) - x).abs().mean().item() for s in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[0] > 0.0005


def test_saturation_first_fades_and_then_burns() -> None:
    """As published: severities 1 and 2 take colour away, 3 to 5 add it."""
    x = pictures(8)

    def colour(z: Tensor) -> float:
        return (z.amax(dim=1) - z.amin(dim=1)).mean().item()

    colours = [colour(corrupted(x, "saturation", s)) for s in SEVERITIES]
    assert colours[1] < colours[0] < colour(x) < colours[2] < colours[3] < colours[4]


@given(
    name=st.sampled_from(CORRUPTIONS),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 1000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
@settings(max_examples=60)
def test_stays_in_the_box_and_depends_on_the_generator_alone(
    name: str, severity: int, seed: int, height: int, width: int
) -> None:
    x = torch.rand(2, 3, height, width, generator=seeded(seed))
    before = x.clone()
    found = corrupted(x, name, severity, seed)
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(x, before)
    assert torch.equal(corrupted(x, name, severity, seed), found)
    if name not in DRAWN:
        assert torch.equal(corrupted(x, name, severity, seed + 1), found)
        alone = corrupted(x[1:], name, severity)
        torch.testing.assert_close(alone, found[1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_keeps_channels_last(name: str) -> None:
    x = pictures()
    last = x.contiguous(memory_format=torch.channels_last)
    found = corrupted(last, name, 3)
    assert found.is_contiguous(memory_format=torch.channels_last)
    if name not in DRAWN:
        torch.testing.assert_close(found, corrupted(x, name, 3), rtol=0, atol=1e-5)


GREY = torch.full((50, 3, 32, 32), 0.4, dtype=torch.float64)


@pytest.mark.parametrize(("severity", "deviation"), enumerate((0.04, 0.06, 0.08, 0.09, 0.1), 1))
def test_gaussian_noise(severity: int, deviation: float) -> None:
    noise = corrupted(GREY, "gaussian_noise", severity) - GREY
    assert noise.mean().item() == pytest.approx(0, abs=0.001)
    assert noise.std().item() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(("severity", "photons"), enumerate((500, 250, 100, 75, 50), 1))
def test_shot_noise(severity: int, photons: int) -> None:
    """Whole numbers of photons, with the mean and the variance of Poisson's distribution."""
    found = corrupted(GREY, "shot_noise", severity) * photons
    torch.testing.assert_close(found, found.round(), rtol=0, atol=1e-9)
    assert found.mean().item() == pytest.approx(0.4 * photons, rel=0.01)
    assert found.var().item() == pytest.approx(0.4 * photons, rel=0.03)


@pytest.mark.parametrize(("severity", "share"), enumerate((0.01, 0.02, 0.03, 0.05, 0.07), 1))
def test_impulse_noise(severity: int, share: float) -> None:
    found = corrupted(GREY, "impulse_noise", severity)
    assert set(found.unique().tolist()) == {0.0, 0.4, 1.0}
    assert (found != 0.4).double().mean().item() == pytest.approx(share, rel=0.06)
    assert (found == 1).double().mean().item() == pytest.approx(share / 2, rel=0.08)


@pytest.mark.parametrize(("severity", "sigma"), enumerate((0.4, 0.6, 0.7, 0.8, 1.0), 1))
def test_gaussian_blur_of_a_point(severity: int, sigma: float) -> None:
    x = torch.zeros(1, 3, 21, 21, dtype=torch.float64)
    x[0, :, 10, 10] = 1
    found = corrupted(x, "gaussian_blur", severity)
    away = torch.arange(-10, 11, dtype=torch.float64)
    bell = torch.exp(-(away**2) / (2 * sigma**2))
    bell[away.abs() > int(4 * sigma + 0.5)] = 0
    bell /= bell.sum()
    torch.testing.assert_close(found[0, 1], bell[:, None] * bell, rtol=0, atol=1e-12)
    assert torch.allclose(corrupted(GREY, "gaussian_blur", severity), GREY)  # edges hold


@pytest.mark.parametrize(("severity", "share"), enumerate((0.75, 0.5, 0.4, 0.3, 0.15), 1))
def test_contrast(severity: int, share: float) -> None:
    x = pictures()
    found = corrupted(x, "contrast", severity)
    for i in range(4):
        for channel in range(3):
            mean = x[i, channel].mean()
            expected = mean + share * (x[i, channel] - mean)
            torch.testing.assert_close(found[i, channel], expected, rtol=0, atol=1e-6)


COLOURS = torch.tensor(
    [[0.2, 0.5, 0.9], [0.9, 0.9, 0.1], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0], [1, 1, 1], [0.7, 0, 0.7]],
    dtype=torch.float64,
)


def in_hsv(change: Any) -> Tensor:
    """Each of the colours with its hue, saturation and value changed by the standard library."""
    return torch.tensor(
        [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*colour))) for colour in COLOURS.tolist()]
    ).double()


@pytest.mark.parametrize(("severity", "more"), enumerate((0.05, 0.1, 0.15, 0.2, 0.3), 1))
def test_brightness(severity: int, more: float) -> None:
    found = corrupted(COLOURS.view(6, 3, 1, 1), "brightness", severity).view(6, 3)
    expected = in_hsv(lambda h, s, v: (h, s, min(v + more, 1)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("severity", "factor", "offset"),
    [(1, 0.3, 0), (2, 0.1, 0), (3, 1.5, 0), (4, 2, 0.1), (5, 2.5, 0.2)],
)
def test_saturation(severity: int, factor: float, offset: float) -> None:
    found = corrupted(COLOURS.view(6, 3, 1, 1), "saturation", severity).view(6, 3)
    expected = in_hsv(lambda h, s, v: (h, min(factor * s + offset, 1), v))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("severity", "share"), enumerate((0.95, 0.9, 0.85, 0.75, 0.65), 1))
def test_pixelate_equals_pillow(severity: int, share: float) -> None:
    """But for Pillow's rounding, to 8 bit in between and at the end."""
    x = pictures(height=32, width=40)
    small = (int(40 * share), int(32 * share))
    box = Image.Resampling.BOX
    expected = from_pillow([i.resize(small, box).resize((40, 32), box) for i in to_pillow(x)])
    found = corrupted(x, "pixelate", severity)
    assert (255 * (found - expected)).abs().max() <= 1.01


@pytest.mark.parametrize(("severity", "quality"), enumerate((80, 65, 58, 50, 40), 1))
@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 45), (8, 8)])
def test_jpeg_equals_the_codec_of_torchvision(
    severity: int, quality: int, height: int, width: int
) -> None:
    x = pictures(8, height, width)
    files = encode_jpeg(list((255 * x).round().byte()), quality=quality)
    expected = torch.stack(decode_jpeg(files)) / 255
    assert torch.equal(corrupted(x, "jpeg", severity), expected)


def test_jpeg_rounds_to_levels_of_8_bit() -> None:
    x = pictures()
    beside = (x + 0.4 / 255 * torch.where(x > 0.5, -1, 1)).double()
    torch.testing.assert_close(corrupted(beside, "jpeg", 3), corrupted(x, "jpeg", 3).double())


@pytest.mark.parametrize(
    ("x", "name", "severity", "message"),
    [
        (pictures(1), "fog", 1, "name is one of gaussian_noise, shot_noise"),
        (pictures(1), "jpeg", 0, "severity is from 1 to 5"),
        (pictures(1), "jpeg", 6, "severity is from 1 to 5"),
        (pictures(1)[:, :1], "jpeg", 1, "x must be float images"),
        (pictures(1)[0], "jpeg", 1, "x must be float images"),
        (pictures(1).byte(), "jpeg", 1, "x must be float images"),
    ],
)
def test_refused_arguments(x: Tensor, name: str, severity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupted(x, name, severity)
