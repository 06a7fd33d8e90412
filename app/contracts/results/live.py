"""What a live attack leaves: pictures and maps as sheets, and the figures that belong to them.

A sheet is one PNG of equal tiles: a row for each budget, and in it a column for each iterate. So a
page draws any moment of any attack as a part of one picture, and needs no further call.
"""

from __future__ import annotations

from typing import Literal

from app.contracts.params import ExplainParams, Recipe
from app.contracts.results.base import Environment, Integers, Lineage, Numbers, Result


class LiveModel(Lineage):
    """A model that was attacked."""

    recipe: Recipe | None
    """How it was trained; None for imported weights."""
    label_smoothing: float | None
    """How much of each label its training spread over the other classes: then low confidence is
    its design. None where that is not known."""


class MapSheet(Result):
    """Attention maps: grey PNG data, base64; 255 stands for 1."""

    png: str
    height: int
    """Of one map, in pixels of the sheet."""
    width: int


class Distances(Result):
    """How far maps are from another one, a number a picture."""

    l1: Numbers
    """Mean absolute difference, in [0, 1]."""
    cosine: Numbers
    """1 - cos, in [0, 1]."""
    overlap: Numbers
    """Intersection over union of the highest fifths, in [0, 1]; 1: the same places."""


class MapFigures(Result):
    """What one kind of map does under attack."""

    sheet: MapSheet
    shift: Distances
    """From the same model's map of the clean image."""
    reference: Distances
    """From the first model's map of the clean image."""


class LiveLook(Result):
    """What one model makes of the pictures that were crafted on one model.

    Its own: every iterate, row by row. Those of another model: the last iterate at each budget, so
    that its sheets have one column.
    """

    top: Integers
    """The likeliest class of each picture."""
    confidence: Numbers
    """Its probability."""
    probabilities: tuple[Numbers, ...]
    """Of the classes `shown`, for each picture."""
    attention: MapFigures
    """The paper's class-irrelevant channel sum."""
    grad_cam: MapFigures
    """For the class that the model predicts."""
    stages: tuple[MapSheet, ...]
    """Channel sums of the feature maps from the finest to the coarsest, which is the last stage's;
    of the last iterates, in one column. None where they were crafted on another model."""


class Level(Result):
    """The last iterate of one attack at one budget."""

    adversarial_png: str
    """PNG data, base64: what every figure was measured on."""
    max_change: float
    """L-infinity norm of the perturbation, in [0, 1] units."""
    l2_change: float


class Stored(Result):
    """What the attacked model says of the last iterates when they are stored in another way."""

    form: Literal["float", "png", "jpeg-90", "jpeg-75"]
    """`float`: as the attack left them; `png`: rounded to 8 bit, as they are shown; `jpeg-90` and
    `jpeg-75`: compressed by JPEG at that quality, colours at half resolution (4:2:0)."""
    top: Integers
    """The likeliest class at each budget."""


class Minimal(Result):
    """The smallest budget of the slider at which any picture changes what a model should say.

    That is the true class, and where none was given, what it says of the clean image.
    """

    survived: float | None
    """The largest budget below that; None where the clean image is wrong already."""
    broke: float | None
    """None where nothing broke it up to the largest budget."""
    crafted_on: int | None
    """The number of the model whose attack did it: its own, or a transfer."""
    steps: int | None
    """After how many steps of that attack."""


class Attacked(Result):
    """The attack on one model."""

    changes_png: str
    """A sheet of tiles three times as wide as the image, grey PNG data, base64: red, green and blue
    of each pixel side by side, each 128 + its change in grey levels, modulo 256. So any iterate is
    the clean picture plus its tile less 128."""
    levels: tuple[Level, ...]
    """At each budget."""
    looks: tuple[LiveLook, ...]
    """By each of the models, in their order."""
    stored: tuple[Stored, ...]
    minimal: Minimal


class CleanLook(Result):
    """What one model makes of the clean image."""

    top: int
    confidence: float
    probabilities: Numbers
    """Of the classes `shown`."""
    attention_noise: Distances
    """How far random noise as large as each budget, which aims at nothing, moves its map."""
    grad_cam_noise: Distances


class ExplainResult(Result):
    """Everything that the live view shows, so that its sliders need no further call.

    The first model is the one that maps are compared with.
    """

    kind: Literal["explain"] = "explain"
    params: ExplainParams
    attack: str
    """In words: `PGD-10 (L∞), away from the true class`."""
    classes: tuple[str, ...]
    shown: Integers
    """The classes whose probabilities are kept, in the order of the classes: the true one, and
    the likeliest at any moment of any attack."""
    label: str | None
    """The true class; None where nobody stated one."""
    models: tuple[LiveModel, ...]
    budgets: Numbers
    """The rows of the sheets: from 0, which is the clean image, in [0, 1] units."""
    iterates: Integers
    """The columns: after how many steps."""
    image_size: int
    clean_png: str
    clean: tuple[CleanLook, ...]
    """By each of the models."""
    attacks: tuple[Attacked, ...]
    """On each of the models."""
    environment: Environment
