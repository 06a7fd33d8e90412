"""What ships with the models in the box: pictures, attacks on them, curves."""

from __future__ import annotations

from app.contracts.params import Method, Recipe
from app.contracts.results import Accuracy, Picture, Showcase, ShowcasePicture
from app.errors import NotFound
from app.services.lab import Lab
from app.store.showcase import pool


def facts(lab: Lab) -> Showcase | None:
    """How it was made; None where the lab has none that is true of its models."""
    return None if lab.shown is None else lab.shown.showcase


def pictures(lab: Lab) -> tuple[ShowcasePicture, ...]:
    """The attacked pictures, in the order of the showcase."""
    return () if lab.shown is None else lab.shown.pictures


def document(lab: Lab, name: str) -> bytes:
    """An attacked picture as JSON. Raises NotFound."""
    found = None if lab.shown is None else lab.shown.documents.get(name)
    if found is None:
        raise NotFound("There is no such picture in the showcase.")
    return found


def version(lab: Lab) -> str:
    """A text that is another one when anything in the showcase is."""
    return "" if lab.shown is None else lab.shown.version


def examples(lab: Lab) -> tuple[Picture, ...]:
    """Pictures to try: those of the showcase, or else the first of each class."""
    if lab.shown is not None:
        return tuple(one.picture for one in lab.shown.pictures)
    first = {picture.label: picture for picture in reversed(pool())}
    return tuple(picture for picture in pool() if first[picture.label] is picture)


def recipes(lab: Lab) -> dict[str, Recipe]:
    """What the models of the curves were trained with, by id."""
    cards = {} if lab.shown is None else lab.shown.cards
    return {id: card.recipe for id, card in cards.items() if card.recipe is not None}


def autoattack(lab: Lab) -> dict[str, Accuracy]:
    """What AutoAttack leaves of those of them whose cards say it, by id."""
    cards = {} if lab.shown is None else lab.shown.cards
    return {
        id: one.accuracy
        for id, card in cards.items()
        for one in card.test
        if one.method is Method.AUTOATTACK
    }
