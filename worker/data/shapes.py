"""Shapes: ten kinds of coloured object on textured backgrounds, each with its exact mask.

Drawn here, so that a machine without a network has something to learn from, and so that "looks at
the right region" can be measured. Only the outline tells the class: the object's colour, size,
angle and place, and everything about the background, are drawn independently of it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.data.store_format import Dataset, Progress, remove_partial, write_dataset

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

CLASS_NAMES = (
    "arrow", "circle", "crescent", "cross", "heart",
    "hexagon", "ring", "square", "star", "triangle",
)  # fmt: skip
_SUBPIXELS = 3  # samples a pixel side
_BATCH = 250  # images drawn at a time, to keep memory small
_COLOURS = 6  # candidates for the object's colour


def draw_shapes(
    folder: Path,
    *,
    image_size: int,
    train_per_class: int,
    test_per_class: int,
    seed: int,
    progress: Progress,
) -> Dataset:
    """Draw the dataset and write it to `folder`.

    Args:
        folder: does not exist yet, and does not afterwards if this raises.
        image_size: pixels a side, >= 16.
        train_per_class, test_per_class: images of each of the ten classes, >= 2 and >= 1.
        seed: the same seed gives the same images, and train and test share none.
        progress: called with images done and images in all; what it raises ends the drawing.

    Raises:
        FileExistsError: `folder` exists.
        ValueError: a size or count is too small.
    """
    if image_size < 16 or train_per_class < 2 or test_per_class < 1:
        raise ValueError(
            "expected image_size >= 16, train_per_class >= 2 and test_per_class >= 1, got "
            f"{image_size}, {train_per_class} and {test_per_class}"
        )
    if folder.exists():
        raise FileExistsError(f"{folder} exists")
    remove_partial(folder)
    num_classes = len(CLASS_NAMES)
    per_class = train_per_class + test_per_class
    labels = np.tile(np.arange(num_classes), per_class)  # every class in turn
    images = np.empty((len(labels), image_size, image_size, 3), dtype=np.uint8)
    masks = np.empty((len(labels), image_size, image_size), dtype=bool)
    progress(0, len(labels))
    for start in range(0, len(labels), _BATCH):
        stop = min(start + _BATCH, len(labels))
        rng = np.random.default_rng((seed, start))  # so that every size shows the same objects
        images[start:stop], masks[start:stop] = _draw(labels[start:stop], image_size, rng)
        progress(stop, len(labels))
    cut = train_per_class * num_classes
    return write_dataset(
        folder,
        class_names=CLASS_NAMES,
        train_images=images[:cut],
        train_labels=labels[:cut],
        train_masks=masks[:cut],
        test_images=images[cut:],
        test_labels=labels[cut:],
        test_masks=masks[cut:],
        label="Shapes",
        source=f"drawn by the lab, seed {seed}",
        notes={"remarks": [], "seed": seed},
    )


def _draw(
    labels: NDArray[np.int64], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Bools]:
    """Images (N, size, size, 3) and masks (N, size, size) of the given classes."""
    background, colours = _backgrounds(len(labels), size, rng)  # (N, H, W, 3), (N, 2, 3)
    cover, shade = _objects(labels, size, rng)  # (N, H, W) each
    fill = _object_colours(colours, rng)[:, None, None, :] * shade[..., None]
    image = background + cover[..., None] * (fill - background)
    image += rng.normal(0.0, 0.02, image.shape).astype(np.float32)  # grain of a camera
    pixels = (image * 255).round().clip(0, 255).astype(np.uint8)
    return pixels, cover >= 0.5


def _objects(
    labels: NDArray[np.int64], size: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """For each image the share of every pixel that the object covers, and the object's shading."""
    n = len(labels)
    radius = rng.uniform(0.26, 0.42, n)  # of the image's side
    centre = 0.5 + rng.uniform(-1, 1, (2, n)) * (0.5 - radius)  # the object stays inside
    angle = rng.uniform(0, 2 * np.pi, n)
    light = rng.uniform(0, 2 * np.pi, n)

    fine = size * _SUBPIXELS
    at = ((np.arange(fine) + 0.5) / fine).astype(np.float32)
    dx = ((at - centre[0][:, None]) / radius[:, None]).astype(np.float32)[:, None, :]  # (N, 1, W)
    dy = ((at - centre[1][:, None]) / radius[:, None]).astype(np.float32)[:, :, None]  # (N, H, 1)
    cos, sin = (f(angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    inside = np.empty((n, fine, fine), dtype=bool)
    for c, outline in enumerate(_OUTLINES):
        of_class = np.flatnonzero(labels == c)
        x = cos[of_class] * dx[of_class] + sin[of_class] * dy[of_class]
        y = cos[of_class] * dy[of_class] - sin[of_class] * dx[of_class]
        inside[of_class] = outline(x, y)
    # (N, H, s, W, s) -> (N, H, W)
    cover = inside.reshape(n, size, _SUBPIXELS, size, _SUBPIXELS).mean((2, 4), dtype=np.float32)
    middle = _SUBPIXELS // 2
    along = np.cos(light)[:, None, None] * dx[:, :, middle::_SUBPIXELS]
    along = along + np.sin(light)[:, None, None] * dy[:, middle::_SUBPIXELS, :]
    shade = (1 + 0.18 * along.clip(-1, 1)).astype(np.float32)
    return cover, shade


def _object_colours(background: Floats, rng: np.random.Generator) -> Floats:
    """(N, 3) colours that stand out: of a few at random, the farthest from both behind it."""
    candidates = rng.uniform(0.05, 0.95, (len(background), _COLOURS, 3))
    distance = np.linalg.norm(candidates[:, :, None] - background[:, None], axis=3).min(axis=2)
    chosen = candidates[np.arange(len(background)), distance.argmax(axis=1)]
    return np.asarray(chosen, dtype=np.float32)


def _backgrounds(n: int, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Textures (N, H, W, 3) that blend two colours, and these colours (N, 2, 3)."""
    colours = rng.uniform(0.0, 1.0, (n, 2, 3)).astype(np.float32)
    # The two are drawn together, so that the object can stand out from both.
    colours[:, 1] = 0.5 * colours[:, 0] + 0.5 * colours[:, 1]
    kinds = np.stack([_noise(n, size, rng), _gradient(n, size, rng), _stripes(n, size, rng)])
    blend = kinds[rng.integers(0, 3, n), np.arange(n)]  # (N, H, W) in [0, 1]
    blend = (0.75 * blend + 0.25 * _noise(n, size, rng))[..., None]
    return colours[:, None, None, 0] * (1 - blend) + colours[:, None, None, 1] * blend, colours


def _noise(n: int, size: int, rng: np.random.Generator) -> Floats:
    """(N, H, W) in [0, 1]: random values on a coarse grid, joined by straight lines."""
    cells = int(rng.integers(4, 10))
    grid = rng.uniform(0, 1, (n, cells, cells)).astype(np.float32)
    at = np.linspace(0, cells - 1, size, dtype=np.float32)
    weight = (1 - np.abs(at[:, None] - np.arange(cells, dtype=np.float32))).clip(0)  # (H, cells)
    return np.asarray(weight @ grid @ weight.T, dtype=np.float32)


def _gradient(n: int, size: int, rng: np.random.Generator) -> Floats:
    """(N, H, W) in [0, 1]: a slope in a random direction."""
    return np.asarray(0.5 + 0.5 * _along(n, size, rng).clip(-1, 1), dtype=np.float32)


def _stripes(n: int, size: int, rng: np.random.Generator) -> Floats:
    """(N, H, W) in [0, 1]: stripes of random direction, width, phase and softness."""
    waves = rng.uniform(1.5, 4.5, (n, 1, 1)).astype(np.float32)  # over half the image
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1)).astype(np.float32)
    hard = rng.uniform(1, 6, (n, 1, 1)).astype(np.float32)
    wave = np.sin(np.pi * waves * _along(n, size, rng) + phase)
    return np.asarray(0.5 + 0.5 * (hard * wave).clip(-1, 1), dtype=np.float32)


def _along(n: int, size: int, rng: np.random.Generator) -> Floats:
    """(N, H, W): how far a pixel is from the centre in a random direction, in half image sides."""
    angle = rng.uniform(0, 2 * np.pi, (n, 1, 1)).astype(np.float32)
    at = (2 * (np.arange(size, dtype=np.float32) + 0.5) / size - 1).astype(np.float32)
    across, down = at[None, None, :], at[None, :, None]
    return np.asarray(np.cos(angle) * across + np.sin(angle) * down, dtype=np.float32)


# Outlines: where (x, y), in a frame turned with the object, lies inside. All fit the unit disc; y
# points down, as in the image.


def _polygon(*corners: tuple[float, float]) -> Callable[[Floats, Floats], Bools]:
    """Inside a simple polygon: a ray to the right crosses its sides an odd number of times."""

    def outline(x: Floats, y: Floats) -> Bools:
        inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if y0 == y1:
                continue
            slope = np.float32((x1 - x0) / (y1 - y0))
            spans = (y > np.float32(min(y0, y1))) & (y <= np.float32(max(y0, y1)))
            inside ^= spans & (x < np.float32(x0) + slope * (y - np.float32(y0)))
        return inside

    return outline


def _regular(corners: int, inner: float = 1.0) -> tuple[tuple[float, float], ...]:
    """Corners of a regular polygon; with `inner` below 1 of a star, whose notches lie there."""
    count = corners if inner == 1.0 else 2 * corners
    radii = [1.0 if i % 2 == 0 or inner == 1.0 else inner for i in range(count)]
    turns = [2 * np.pi * i / count - np.pi / 2 for i in range(count)]
    return tuple(
        (float(r * np.cos(t)), float(r * np.sin(t))) for r, t in zip(radii, turns, strict=True)
    )


def _cross(x: Floats, y: Floats) -> Bools:
    x, y = np.abs(x), np.abs(y)
    return (np.minimum(x, y) < 0.3) & (np.maximum(x, y) < 0.95)


def _circle(x: Floats, y: Floats) -> Bools:
    return x**2 + y**2 < 0.9**2


def _ring(x: Floats, y: Floats) -> Bools:
    square = x**2 + y**2
    return (square < 0.98**2) & (square > 0.55**2)


def _crescent(x: Floats, y: Floats) -> Bools:
    return (x**2 + y**2 < 1) & ((x - 0.5) ** 2 + y**2 > 0.75**2)


def _heart(x: Floats, y: Floats) -> Bools:
    # The curve (u^2 + v^2 - 1)^3 = u^2 v^3, moved and scaled into the unit disc.
    u, v = 1.2 * x, 0.12 - 1.2 * y
    return (u**2 + v**2 - 1) ** 3 < u**2 * v**3


_ARROW = (
    (0.0, -1.0), (0.75, -0.15), (0.28, -0.15), (0.28, 0.95), (-0.28, 0.95), (-0.28, -0.15),
    (-0.75, -0.15),
)  # fmt: skip
_OUTLINES: tuple[Callable[[Floats, Floats], Bools], ...] = (
    _polygon(*_ARROW),
    _circle,
    _crescent,
    _cross,
    _heart,
    _polygon(*_regular(6)),
    _ring,
    _polygon(*_regular(4)),
    _polygon(*_regular(5, inner=0.45)),
    _polygon(*_regular(3)),
)
