"""Where a test image is looked at live."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from app.web.charts.base import Recipes


def live_address(
    models: Sequence[str], recipes: Recipes, *, dataset: str, number: int, label: str
) -> str:
    """The live view of a test image of class `label`, attacked on two of the models, given by id.

    A clean one is the teacher and a robust one the student, else the first and the last.
    """
    teacher = next((m for m in models if m in recipes and recipes[m].is_teacher), models[0])
    student = next((m for m in models if m in recipes and recipes[m].is_robust), models[-1])
    chosen = [
        *(("models", model) for model in dict.fromkeys((teacher, student))),
        ("dataset", dataset),
        ("number", str(number)),
        ("label", label),
    ]
    return f"/live?{urlencode(chosen)}"
