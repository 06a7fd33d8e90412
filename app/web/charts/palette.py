"""Who is drawn in which colour. The same values are tokens in `static/lab.css`.

Each hue has a contrast of at least 3 : 1 against the light and the dark ground, and teacher and
student stay far apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.params import Recipe

TEACHER = Recipe.CLEAN.record.hue
STUDENT = Recipe.AGKD_BML.record.hue
OTHERS = tuple(r.record.hue for r in Recipe if r not in (Recipe.CLEAN, Recipe.AGKD_BML))
CLASSES = (
    "#2f7ebc", "#d4650f", "#2c8f5a", "#c0392b", "#8a63d2", "#8f7d1a", "#c9518f", "#138a96",
    "#7a7f87", "#a1644a",
)  # fmt: skip
"""Of a dataset's classes, in the feature view; of more than ten, some share a colour."""


def colours(models: Sequence[str], recipes: Mapping[str, Recipe]) -> dict[str, str]:
    """A colour for each model id, without repeats (up to nine models), whatever their order.

    A model has its recipe's hue; of several of a recipe the one that comes first in `recipes`,
    which are in the order of seniority: who comes later takes nobody's colour. Further ones
    and those of unknown recipe start at a hue that their id chooses, so that they keep it wherever
    it is free.
    """
    chosen: dict[str, str] = {}
    first = {model: at for at, model in enumerate(recipes)}
    for model in sorted(first.keys() & {*models}, key=first.__getitem__):
        hue = recipes[model].record.hue
        if hue not in chosen.values():
            chosen[model] = hue
    for model in sorted({*models} - chosen.keys()):
        start = int(model[:8], 16) % len(OTHERS)
        wished = (*OTHERS[start:], *OTHERS[:start], STUDENT, TEACHER)
        chosen[model] = next((h for h in wished if h not in chosen.values()), OTHERS[start])
    return chosen


def identity(hue: str) -> str:
    """The style sheet's name of a model's colour: `teacher`, `student`, `hue-1` to `hue-7`."""
    named = {TEACHER: "teacher", STUDENT: "student"}
    return named.get(hue) or f"hue-{OTHERS.index(hue) + 1}"


IDENTITIES = {recipe.value: identity(recipe.record.hue) for recipe in Recipe}
"""Of a model by itself, by its recipe; scripts derive the others' from these."""
