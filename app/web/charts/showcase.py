"""The curves of the models in the box, and what AutoAttack leaves of each."""

from __future__ import annotations

from collections.abc import Mapping

from app.contracts.results import Accuracy, EvaluationSummary
from app.contracts.words import budget
from app.web.charts.base import Figure, Recipes, budget_scale, styled
from app.web.charts.curves import against_epsilon


def box_curves(
    found: EvaluationSummary, recipes: Recipes, marks: Mapping[str, Accuracy]
) -> Figure | None:
    """Accuracy against the budget, and the `marks` by model at the budget of the threat model,
    with their 95 % intervals. None without points."""
    drawn = against_epsilon(found, recipes)
    if drawn is None:
        return None
    norm, epsilon = found.params.attack.norm, found.params.epsilon
    x = budget_scale(norm, epsilon)
    for one in styled(found.models, recipes):
        if (mark := marks.get(one.model.model)) is None:
            continue
        drawn["data"].append({
            "type": "scatter", "mode": "markers", "x": [x], "y": [mark.value],
            "name": f"{one.name}, AutoAttack", "showlegend": False,
            "legendgroup": one.model.model,
            "marker": {"symbol": "star", "size": 12, "color": one.hue},
            "error_y": {
                "type": "data", "symmetric": False, "color": one.hue, "thickness": 2, "width": 4,
                "array": [mark.high - mark.value], "arrayminus": [mark.value - mark.low],
            },
            "customdata": [[mark.low, mark.high, mark.n]],
            "hovertemplate": f"AutoAttack, ε = {budget(norm, epsilon)}<br>%{{y:.1%}} "
            "(%{customdata[0]:.1%} to %{customdata[1]:.1%})<br>n = %{customdata[2]:,d}",
        })  # fmt: skip
    return drawn
