"""The pair of models that a live attack begins with."""

from __future__ import annotations

from app.contracts.attacks import Method
from app.contracts.recipes import ROBUST, TEACHERS
from app.contracts.views import ModelView
from app.services import models
from app.services.lab import Lab
from app.store import catalogue

_LOOKED_AT = 100


def likely_pair(lab: Lab) -> tuple[ModelView, ...]:
    """A teacher and the student that withstood AutoAttack best, by what their cards say.

    Students that learned where to look go before those that never had a teacher: where both look
    is what the page compares. Where no card has that figure, the newest student. Models of a
    training's last epoch and those of unknown recipe are never chosen; without any student the
    newest clean model stands alone.
    """
    students = _best(lab, ROBUST)
    if not students:
        return tuple(_best(lab, TEACHERS)[:1])
    # Of equal ones those of this lab go first, and among them the newest.
    guided = [view for view in students if view.card.recipe and view.card.recipe.needs_teacher]
    student = max(
        guided or students, key=lambda view: (_withstood(view), view.card.origin != "shipped")
    )
    named = "" if student.card.teacher is None else student.card.teacher.id
    fitting = [
        view
        for view in _best(lab, TEACHERS, size=student.card.image_size, first=named)
        if view.card.classes == student.card.classes
    ]
    return (*fitting[:1], student)


def _best(
    lab: Lab, recipes: tuple[str, ...], *, size: int | None = None, first: str = ""
) -> list[ModelView]:
    rows = catalogue.best_epochs(
        lab.database, recipes, image_size=size, first=first, limit=_LOOKED_AT
    )
    return models.views(lab, rows)


def _withstood(view: ModelView) -> float:
    """Accuracy under AutoAttack, -1 where it was not measured."""
    measured = [one.accuracy.value for one in view.card.test if one.method is Method.AUTOATTACK]
    return max(measured, default=-1.0)
