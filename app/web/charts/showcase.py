"""The curves of the models in the box, and what AutoAttack leaves of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.attacks import Method
from app.contracts.results import Accuracy, EvaluationSummary
from app.contracts.words import budget
from app.web.charts.base import Figure, Recipes, budget_scale, styled
from app.web.charts.curves import against_epsilon

_AUTOATTACK = Method.AUTOATTACK.record.title


def box_curves(
    found: EvaluationSummary, recipes: Recipes, marks: Mapping[str, Accuracy]
) -> Figure | None:
    """Accuracy against the budget, and the `marks` by model at the budget of the threat model,
    with their 95 % intervals; words in which all names end are left out. None without points."""
    own = distinct([model.name for model in found.models])
    named = zip(found.models, own, strict=True)
    models = tuple(model.model_copy(update={"name": name}) for model, name in named)
    found = found.model_copy(update={"models": models})
    drawn = against_epsilon(found, recipes)
    if drawn is None:
        return None
    norm, epsilon = found.params.attack.norm, found.params.epsilon
    x = budget_scale(norm, epsilon)
    drawn["layout"]["xaxis"] |= {"tick0": 0, "dtick": x / 2}
    for one in styled(found.models, recipes):
        if (mark := marks.get(one.model.model)) is None:
            continue
        drawn["data"].append({
            "type": "scatter", "mode": "markers", "x": [x], "y": [mark.value],
            "name": f"{one.name}, {_AUTOATTACK}", "showlegend": False,
            "legendgroup": one.model.model,
            "marker": {"symbol": "star", "size": 12, "color": one.hue},
            "error_y": {
                "type": "data", "symmetric": False, "color": one.hue, "thickness": 2, "width": 4,
                "array": [mark.high - mark.value], "arrayminus": [mark.value - mark.low],
            },
            "customdata": [[mark.low, mark.high, mark.n]],
            "hovertemplate": f"{_AUTOATTACK}, ε = {budget(norm, epsilon)}<br>%{{y:.1%}} "
            "(%{customdata[0]:.1%} to %{customdata[1]:.1%})<br>n = %{customdata[2]:,d}",
        })  # fmt: skip
    return drawn


def distinct(names: Sequence[str]) -> list[str]:
    """The names without the words in which all of them end; at least one word is left of each."""
    words = [name.split(" ") for name in names]
    most = min(len(parts) for parts in words) - 1
    same = next((n for n in range(most) if len({parts[-1 - n] for parts in words}) > 1), most)
    return [" ".join(parts[: len(parts) - same]) for parts in words]
