"""The pair of models that a live attack begins with."""

from __future__ import annotations

from itertools import islice

from pydantic import TypeAdapter

from app.contracts.attacks import Method
from app.contracts.recipes import ROBUST, TEACHERS, Recipe
from app.contracts.results import TestAccuracy
from app.services.lab import Lab
from app.store import catalogue, showcase
from app.store.tables import ModelRow

_GUIDED = frozenset(recipe for recipe in Recipe if recipe.needs_teacher)
_FIGURES: TypeAdapter[tuple[TestAccuracy, ...]] = TypeAdapter(tuple[TestAccuracy, ...])
_LOOKED_AT = 20
"""Only those that came with the lab say how many withstood AutoAttack, and they are found first."""


def likely_pair(lab: Lab) -> tuple[str, ...]:
    """The ids of a teacher and of the student that withstood AutoAttack best, by what their cards
    say.

    Students that learned where to look go before those that never had a teacher: where both look
    is what the page compares. Those that know the classes of the pictures in the box go before
    others, since its pictures are the first to attack. Where no card has that figure, the newest
    student. Models of a training's last epoch and those of unknown recipe are never chosen; without
    any student the newest clean model stands alone.
    """
    students = catalogue.best_epochs(lab.database, ROBUST, limit=_LOOKED_AT)
    if not students:
        alone = catalogue.best_epochs(lab.database, TEACHERS, limit=1)
        return tuple(row.id for row in alone)
    # Of equal ones those of this lab go first, and among them the newest.
    guided = [row for row in students if row.recipe in _GUIDED]
    pictured = {picture.label for picture in showcase.pool()}

    def rank(row: ModelRow) -> tuple[bool, float, bool]:
        knows_pictures = pictured <= set(row.card["classes"])
        return knows_pictures, _withstood(row), row.card.get("origin") != "shipped"

    student = max(guided or students, key=rank)
    named = (student.card.get("teacher") or {"id": ""})["id"]
    teachers = catalogue.best_epochs(
        lab.database, TEACHERS,
        image_size=student.card["image_size"], first=named, limit=_LOOKED_AT,
    )  # fmt: skip
    fitting = (row.id for row in teachers if row.card["classes"] == student.card["classes"])
    return (*islice(fitting, 1), student.id)


def _withstood(row: ModelRow) -> float:
    """Accuracy under AutoAttack, -1 where it was not measured."""
    figures = _FIGURES.validate_python(row.card.get("test", ()))
    return max((f.accuracy.value for f in figures if f.method is Method.AUTOATTACK), default=-1.0)
