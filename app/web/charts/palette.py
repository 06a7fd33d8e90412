"""Who is drawn in which colour. The same values are tokens in `static/lab.css`.

Each hue has a contrast of at least 3 : 1 against the light and the dark ground, and teacher and
student stay far apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.params import Recipe

TEACHER = Recipe.CLEAN.record.hue
STUDENT = Recipe.AGKD_BML.record.hue
OTHERS = ("#8a63d2", "#2c8f5a", "#c9518f", "#138a96", "#8f7d1a", "#a1644a")
CLASSES = (
    "#2f7ebc", "#d4650f", "#2c8f5a", "#c0392b", "#8a63d2", "#8f7d1a", "#c9518f", "#138a96",
    "#7a7f87", "#a1644a",
)  # fmt: skip
"""Of a dataset's classes, in the feature view; of more than ten, some share a colour."""
GROUNDS = ("#ffffff", "#181d22")
"""Surfaces that charts are drawn on, light and dark."""


def colours(models: Sequence[str], recipes: Mapping[str, Recipe]) -> dict[str, str]:
    """A colour for each model id, without repeats (up to eight models).

    The first clean model is the teacher and the first other one the student; further models start
    at a hue that their id chooses, so that they keep it wherever they appear.
    """
    chosen: dict[str, str] = {}
    for model in models:
        recipe = recipes.get(model)
        wished = [] if recipe is None else [TEACHER if recipe is Recipe.CLEAN else STUDENT]
        start = int(model[:8], 16) % len(OTHERS)
        wished += [OTHERS[(start + i) % len(OTHERS)] for i in range(len(OTHERS))]
        wished += [STUDENT, TEACHER]
        free = (hue for hue in wished if hue not in chosen.values())
        chosen[model] = next(free, OTHERS[start])
    return chosen


def identity(hue: str) -> str:
    """The style sheet's name of a model's colour: `teacher`, `student`, `hue-1` to `hue-6`."""
    named = {TEACHER: "teacher", STUDENT: "student"}
    return named.get(hue) or f"hue-{OTHERS.index(hue) + 1}"
