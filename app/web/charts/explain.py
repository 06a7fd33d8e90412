"""The charts of the live view: class probabilities, and the true class against the budget.

Each figure holds one position of the slider; a page moves it with the numbers of the result.
"""

from __future__ import annotations

from app.contracts.params import Attack, Norm
from app.contracts.results import ExplainResult, View
from app.contracts.units import format_255, to_255
from app.contracts.words import attack, budget, goal
from app.web.charts import palette
from app.web.charts.base import Figure, budget_axis, budget_scale, figure, label

MAX_CLASSES = 10
"""Classes shown of models that know more: the likeliest at any position of the slider."""


def figures(result: ExplainResult) -> dict[str, Figure]:
    """`teacher` and `student`: probability bars. `true_class`: its probability by budget."""
    shown = shown_classes(result)
    middle = len(result.levels) // 2
    return {
        "teacher": _bars(result, shown, "teacher", palette.TEACHER, middle),
        "student": _bars(result, shown, "student", palette.STUDENT, middle),
        "true_class": _true_class(result, middle),
    }


def shown_classes(result: ExplainResult) -> list[int]:
    """Indices in the order of the classes; the true class is always among them."""
    true = result.classes.index(result.label)
    views = [view for level in result.levels for view in (level.teacher, level.student)]
    highest = [max(view.probabilities[k] for view in views) for k in range(len(result.classes))]
    order = sorted(range(len(highest)), key=lambda k: (k != true, -highest[k]))
    return sorted(order[:MAX_CLASSES])


def _view(result: ExplainResult, index: int, who: str) -> View:
    level = result.levels[index]
    return level.teacher if who == "teacher" else level.student


def _bars(result: ExplainResult, shown: list[int], who: str, hue: str, index: int) -> Figure:
    names = [label(result.classes[k]) for k in shown]
    true = result.classes.index(result.label)
    ticks = [f"<b>{name}</b>" if k == true else name for k, name in zip(shown, names, strict=True)]
    rows = list(range(len(shown)))
    hatched = {
        "color": "rgba(0,0,0,0)",
        "line": {"color": hue, "width": 1},
        "pattern": {"shape": "/", "fgcolor": hue, "size": 5, "solidity": 0.4},
    }
    bars = [
        ("Clean", 0, {"color": hue, "line": {"color": hue, "width": 1}}),
        ("Adversarial", index, hatched),
    ]
    traces = [
        {
            "type": "bar", "orientation": "h", "name": name, "y": rows, "marker": marker,
            "x": [_view(result, at, who).probabilities[k] for k in shown],
            "hovertemplate": "%{x:.1%}",
        }
        for name, at, marker in bars
    ]  # fmt: skip
    return figure(
        traces,
        barmode="group",
        bargap=0.25,
        margin={"l": 12, "r": 16, "t": 8, "b": 28},
        xaxis={"tickformat": ".0%", "range": [0, 1]},
        yaxis={"tickvals": rows, "ticktext": ticks, "autorange": "reversed", "automargin": True},
        meta={"classes": shown},
    )


def _true_class(result: ExplainResult, index: int) -> Figure:
    norm = result.attack.norm
    xs = [budget_scale(norm, level.epsilon) for level in result.levels]
    unit = "/255" if norm is Norm.LINF else ""
    true = result.classes.index(result.label)
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "x": xs, "name": name,
            "y": [_view(result, i, who).probabilities[true] for i in range(len(xs))],
            "line": {"color": hue, "width": 2, "dash": "dash"},
            "marker": {"size": 5, "color": hue, "symbol": symbol},
            "hovertemplate": f"ε = %{{x:g}}{unit}<br>%{{y:.1%}}",
        }
        for who, name, hue, symbol in (
            ("teacher", "Teacher", palette.TEACHER, "circle"),
            ("student", "Student", palette.STUDENT, "square"),
        )
    ]  # fmt: skip
    here = {"type": "line", "x0": xs[index], "x1": xs[index], "y0": 0, "y1": 1, "yref": "paper",
            "line": {"width": 1, "color": "#808890"}}  # fmt: skip
    return figure(
        traces,
        shapes=[here],
        xaxis=budget_axis(norm),
        yaxis={"title": {"text": f"Probability of “{label(result.label)}”"},
               "tickformat": ".0%", "range": [0, 1.02]},
        meta={
            "attack": _attack_in_words(result.attack),
            "levels": _levels_in_words(result),
            **_drawn_perturbation(result),
        },
    )  # fmt: skip


def _attack_in_words(how: Attack) -> str:
    """`PGD-10 (L∞), away from the true class`."""
    return f"{attack(how)} ({how.norm.record.title}), {goal(how)}"


def _levels_in_words(result: ExplainResult) -> list[dict[str, str]]:
    return [
        {
            "epsilon": budget(result.attack.norm, level.epsilon),
            "largest": format_255(level.max_change),
            "l2": f"{level.l2_change:.2f}",
        }
        for level in result.levels
    ]


def _drawn_perturbation(result: ExplainResult) -> dict[str, str]:
    """Of `perturbation_png`: 127 grey levels stand for the range."""
    levels = to_255(result.perturbation_range)
    return {"range": f"±{levels:.3g}/255", "factor": f"×{127 / levels:.3g}"}
