"""What ships with the models in the box: pictures, attacks on them, curves."""

from __future__ import annotations

from app.contracts.board import Condition, Entry, Figures
from app.contracts.params import Method, Recipe
from app.contracts.results import (
    Accuracy,
    EvaluationSummary,
    ModelCard,
    ModelSummary,
    Picture,
    Showcase,
    ShowcasePicture,
)
from app.contracts.words import attack
from app.errors import NotFound
from app.services.lab import Lab
from app.store import showcase
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


def drawn() -> tuple[str, ...]:
    """The classes of drawn images, each with one to try."""
    return showcase.drawn()


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


def condition(lab: Lab) -> Condition | None:
    """Under which the models in the box were measured before they were shipped."""
    shown = facts(lab)
    if shown is None:
        return None
    curves = shown.curves
    return Condition(
        dataset=curves.dataset.sha256,
        dataset_name=curves.dataset.name,
        norm=curves.params.attack.norm,
        epsilon=curves.params.epsilon,
        goal=curves.params.attack.goal,
        models=len(curves.models),
        shipped=True,
    )


def entries(lab: Lab) -> tuple[Entry, ...]:
    """Those models with their figures, the most robust first."""
    shown = facts(lab)
    if shown is None or lab.shown is None:
        return ()
    marks = autoattack(lab)
    found = [
        _entry(shown.curves, one, lab.shown.cards[one.model], marks.get(one.model))
        for one in shown.curves.models
    ]
    return tuple(sorted(found, key=_robust, reverse=True))


def _robust(entry: Entry) -> float:
    return -1 if entry.figures.robust is None else entry.figures.robust.value


def _entry(
    curves: EvaluationSummary, model: ModelSummary, card: ModelCard, left: Accuracy | None
) -> Entry:
    """`left`: what AutoAttack leaves of it."""
    said = attack(curves.params.attack)
    return Entry(
        model=model.model,
        name=card.name,
        recipe=card.recipe,
        recipe_name="" if card.params is None else card.params.recipe_name,
        figures=Figures(
            clean=model.clean,
            robust=model.robust if left is None else left,
            autoattack=left,
            held_out=False,
            norm=curves.params.attack.norm,
            epsilon=curves.params.epsilon,
        ),
        job="",
        attacks=said if left is None else f"{said}; {Method.AUTOATTACK.record.title}",
        curve=model.against_epsilon,
    )
