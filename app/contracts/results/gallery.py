"""Images of an evaluation with what a model and its teacher attend to, clean and attacked."""

from __future__ import annotations

from app.contracts.results.base import Result

Grid = tuple[tuple[float, ...], ...]
"""An attention map, rows of values in [0, 1]."""
MOST_IMAGES = 24
"""In all galleries of an evaluation together."""
MOST_PIXELS = 96
"""Of a picture's side; larger images are shown smaller."""


class Look(Result):
    """What a model makes of one image."""

    prediction: int
    """The class that it gives."""
    probability: float
    """That it gives this class, in [0, 1]."""
    attention: Grid
    """The paper's class-irrelevant channel sum; at most 16 x 16. Empty of a black box."""


class Looks(Result):
    """One model before the clean image and before the attacked one."""

    clean: Look
    adversarial: Look


class GalleryImage(Result):
    """An image that the model gets right when clean. Pictures are PNG data, base64."""

    number: int
    """Within the dataset's test part."""
    label: int
    """Its true class."""
    broken_by: int
    """As in `Outcomes`: the number of the attack that broke it, or -1: it stands."""
    least: float | None
    """The smallest budget that was found to break it, in units of [0, 1]; None where none was."""
    lead: float
    """By how much the model prefers the true class to the strongest other one on the attacked
    image, as a difference of probabilities in [-1, 1]."""
    clean_png: str
    adversarial_png: str
    """The example that broke it, else what the first attack left of it; rounded to 8 bits."""
    model: Looks
    teacher: Looks | None
    """None for a model whose teacher is not in the lab, or that has none."""


class Gallery(Result):
    """The worst images of one model: those of every class in turn, then sorted by `least`, and by
    `lead` where that is the same."""

    images: tuple[GalleryImage, ...]
    of_flipped: int
    """Flipped images among which those shown were chosen."""
    of_standing: int
    """The same of images that stand."""


def share_of(models: int) -> int:
    """How many images each of so many models may show."""
    return max(2, MOST_IMAGES // models)
