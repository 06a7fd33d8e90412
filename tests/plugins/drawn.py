"""Files as a user sends them, drawn here: for labs that have no images beside the checkout."""

from __future__ import annotations

import io
import itertools
import zipfile

import numpy as np
from PIL import Image


def picture() -> bytes:
    """A PNG of 32 x 32."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def archive(*, train: int, test: int) -> bytes:
    """A zip of class folders of noise, each class brighter in another colour: 32 x 32, so many
    images a class."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for (part, count), (colour, name) in itertools.product(
            (("train", train), ("test", test)), enumerate(("red", "green", "blue"))
        ):
            for number in range(count):
                pixels = rng.integers(0, 160, (32, 32, 3), np.uint8)
                pixels[..., colour] += 90
                with packed.open(f"{part}/{name}/{number}.png", "w") as file:
                    Image.fromarray(pixels).save(file, "PNG")
    return buffer.getvalue()
