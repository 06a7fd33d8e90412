"""The showcase of the models in the box, and the pictures of free licence that it chooses from.

`showcase/` beside the weights holds `showcase.json` and a `<picture>.json` for each picture shown,
all written by `python -m worker.shipping showcase`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter

from app.contracts.results import ModelCard, Picture, Showcase, ShowcasePicture
from app.settings import BESIDE
from app.store import shipped

_LOG = logging.getLogger("lab.shipped")
EXAMPLES = BESIDE / "static" / "examples"
DRAWN = BESIDE / "static" / "drawn"
FOLDER, INDEX = "showcase", "showcase.json"
_POOL = TypeAdapter(tuple[Picture, ...])


@dataclass(frozen=True)
class Shown:
    """A showcase that was found to be that of the models in the box."""

    showcase: Showcase
    pictures: tuple[ShowcasePicture, ...]
    documents: Mapping[str, bytes]
    """Each picture's results as JSON, by the picture's name."""
    version: str
    """Of the documents: another one when any of them is."""
    cards: Mapping[str, ModelCard]
    """Of the models of the curves, by id."""


@lru_cache
def pool() -> tuple[Picture, ...]:
    """All pictures, in the order of their list."""
    return _POOL.validate_json((EXAMPLES / "pictures.json").read_bytes())


def picture_file(name: str) -> Path:
    """The file of a picture of the pool."""
    return EXAMPLES / f"{name}.jpg"


@lru_cache
def drawn() -> tuple[str, ...]:
    """The classes of `shapes`, in their order: `DRAWN` has a test image of each, `<class>.png`."""
    return tuple(sorted(path.stem for path in DRAWN.glob("*.png")))


def find(box: Path) -> Shown | None:
    """The showcase of a box; None where there is none, or none that is true of its models."""
    if not (box / FOLDER / INDEX).exists():
        return None
    try:
        return read(box)
    except (OSError, ValueError) as error:
        _LOG.error("The showcase is left out: %s", error)
        return None


def read(box: Path) -> Shown:
    """The showcase of a box.

    Raises OSError, and ValueError where a file is no showcase, where a picture is another than the
    one that was attacked, or where a model is none of the box.
    """
    folder = box / FOLDER
    showcase = Showcase.model_validate_json((folder / INDEX).read_bytes())
    documents = {name: (folder / f"{name}.json").read_bytes() for name in showcase.pictures}
    pictures = tuple(map(ShowcasePicture.model_validate_json, documents.values()))
    known = {one.weights_sha256: one for one in shipped.listed(box)}
    of_pictures = [model.sha256 for picture in pictures for model in picture.models]
    of_curves = [model.sha256 for model in showcase.curves.models]
    if not known.keys() >= {*of_pictures, *of_curves}:
        raise ValueError("it was made with other models than those in the box")
    for name, picture in zip(documents, pictures, strict=True):
        _check(name, picture)
    cards = {known[sha256].id: shipped.read_card(known[sha256]) for sha256 in of_curves}
    version = hashlib.sha256(b"".join(documents.values())).hexdigest()[:12]
    return Shown(showcase, pictures, documents, version, cards)


def _check(name: str, shown: ShowcasePicture) -> None:
    if shown.picture not in pool() or shown.picture.name != name:
        raise ValueError(f"“{name}” is none of the pictures")
    if hashlib.sha256(picture_file(name).read_bytes()).hexdigest() != shown.sha256:
        raise ValueError(f"{name}.jpg is another picture than the one that was attacked")
