"""The images of an evaluation as its page shows them: what each model says, and where it looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from app.contracts.params import Method
from app.contracts.results import EvaluationResult, GalleryImage, Look, ModelFigures
from app.contracts.results.gallery import Grid
from app.contracts.words import attack, least_budget
from app.web import words
from app.web.charts.base import Recipes, styled
from app.web.charts.palette import identity
from app.web.pages.live_address import live_address


@dataclass(frozen=True)
class MapView:
    """One model's attention on a picture; `says` is outside text."""

    whose: str
    """`teacher` or `model`."""
    says: str
    """`dog, 83 %`."""
    right: bool
    grid: Grid
    """Empty of a model that shows none."""


@dataclass(frozen=True)
class PictureView:
    """The clean image, or the attacked one, and who looks where."""

    title: str
    """`clean` or `attacked`."""
    png: str
    maps: tuple[MapView, ...]


@dataclass(frozen=True)
class GalleryModel:
    """A model that can be chosen; `name` is outside text."""

    key: str
    """Its number within the evaluation, from 0."""
    name: str
    identity: str


@dataclass(frozen=True)
class GalleryPicture:
    """One image before one model. Names of classes are outside text."""

    model: GalleryModel
    number: int
    label: str
    standing: bool
    verdict: str
    """`taken for dog (PGD)`, `stands`; outside text."""
    least: str
    """`falls at 1.3/255`, or that no budget tried breaks it."""
    pictures: tuple[PictureView, PictureView]
    """Clean, then attacked."""
    live: str
    """Address of the live view; empty for a model that shows no attention."""


@dataclass(frozen=True)
class GalleryView:
    """All images, the worst first."""

    pictures: tuple[GalleryPicture, ...]
    models: tuple[GalleryModel, ...]
    classes: tuple[str, ...]
    """The true classes that are among them, in the dataset's order; outside text."""
    flipped: int
    standing: int
    """How many were to choose from, over all models."""
    first: str
    """The first attack, which left those that stand as they are shown."""


def gallery_view(result: EvaluationResult, recipes: Recipes) -> GalleryView | None:
    """None where the evaluation kept no images, as those of before."""
    kept = [
        (GalleryModel(str(n), one.model.name, identity(one.hue)), one.model, one.model.gallery)
        for n, one in enumerate(styled(result.models, recipes))
        if one.model.gallery is not None
    ]
    if not kept:
        return None
    found = [
        (_badness(image), _picture(result, recipes, who, model, image))
        for who, model, gallery in kept
        for image in gallery.images
    ]
    ordered = [picture for _, picture in sorted(found, key=lambda pair: pair[0])]
    labels = {picture.label for picture in ordered}
    return GalleryView(
        pictures=tuple(ordered),
        models=tuple(who for who, _, _ in kept),
        classes=tuple(name for name in result.classes if name in labels),
        flipped=sum(gallery.of_flipped for _, _, gallery in kept),
        standing=sum(gallery.of_standing for _, _, gallery in kept),
        first=attack(result.params.attack),
    )


def _badness(image: GalleryImage) -> tuple[float, float]:
    return math.inf if image.least is None else image.least, image.lead


def _picture(
    result: EvaluationResult,
    recipes: Recipes,
    who: GalleryModel,
    model: ModelFigures,
    image: GalleryImage,
) -> GalleryPicture:
    label = result.classes[image.label]
    return GalleryPicture(
        model=who,
        number=image.number,
        label=label,
        standing=image.broken_by < 0,
        verdict=_verdict(result, model, image),
        least="no budget tried breaks it"
        if image.least is None
        else f"falls at {least_budget(result.params.attack.norm, image.least)}",
        pictures=(
            PictureView("clean", image.clean_png, _maps(result, image, "clean")),
            PictureView("attacked", image.adversarial_png, _maps(result, image, "adversarial")),
        ),
        live=_live(result, recipes, model, image),
    )


def _live(
    result: EvaluationResult, recipes: Recipes, model: ModelFigures, image: GalleryImage
) -> str:
    if not image.model.clean.attention:
        return ""
    return live_address(
        _pair(model),
        recipes,
        dataset=result.dataset.id,
        number=image.number,
        label=result.classes[image.label],
    )


def _pair(model: ModelFigures) -> list[str]:
    """The teacher whose maps are shown, as far as it is known, and the model."""
    teacher = None if model.attention is None else model.attention.reference.id
    return [model.model if teacher is None else teacher, model.model]


def _verdict(result: EvaluationResult, model: ModelFigures, image: GalleryImage) -> str:
    if image.broken_by < 0:
        return "stands"
    row = model.attacks[image.broken_by - 1]
    whole = f"{Method.AUTOATTACK.record.title}, " if row.part_of_autoattack else ""
    given = result.classes[image.model.adversarial.prediction]
    return f"taken for {given} ({whole}{row.method.record.title})"


def _maps(
    result: EvaluationResult, image: GalleryImage, which: Literal["clean", "adversarial"]
) -> tuple[MapView, ...]:
    """Of the teacher, where there is one, and of the model."""
    looks = (("teacher", image.teacher), ("model", image.model))
    return tuple(
        _map(result, image, whose, seen.clean if which == "clean" else seen.adversarial)
        for whose, seen in looks
        if seen is not None
    )


def _map(result: EvaluationResult, image: GalleryImage, whose: str, look: Look) -> MapView:
    share = words.unbroken(f"{100 * look.probability:.0f} %")
    return MapView(
        whose=whose,
        says=f"{result.classes[look.prediction]}, {share}",
        right=look.prediction == image.label,
        grid=look.attention,
    )
