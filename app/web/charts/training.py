"""The charts of a training, from what it reported, while it runs and after.

Thin lines are means of a few steps, thick ones with dots those of a whole epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.contracts.attacks import VALIDATION_ATTACK
from app.contracts.params import Recipe
from app.web.charts import base as charts
from app.web.charts import palette
from app.web.charts.base import Figure
from app.web.charts.reported import Event, Line, lines_of

_TERMS = {
    "loss": ("Total", None),
    "classification": ("Classification", 0),
    "mart": ("MART", 1),
    "trades": ("TRADES", 1),
    "agkd": ("AGKD", 2),
    "bml": ("BML", 3),
    "sml": ("SML", 3),
}
"""What terms of the loss are called, and which of the palette's further hues they have."""
_SMALL = ("agkd", "bml", "sml")
"""Terms beside which the others are large: they have a chart of their own."""
_SHARES = {
    "validation_clean": ("Clean", "solid"),
    "validation_robust": (VALIDATION_ATTACK, "dash"),
    "validation_fgsm": ("FGSM", "dot"),
    "train_clean": ("Batches, clean", "solid"),
    "train_robust": ("Batches, attacked", "dash"),
}
_PACES = {
    "learning_rate": ("rate", "Learning rate", "%{y:.3g}"),
    "images_per_s": ("pace", "Images a second", "%{y:,.0f}"),
    "peak_memory_mb": ("memory", "MB", "%{y:,.0f} MB"),
}
"""Numbers with a chart of their own: its name, its axis, how a point reads."""


def training_figures(events: Sequence[Event], recipe: Recipe | None) -> dict[str, Figure]:
    """Terms of the loss, accuracies, learning rate, pace and memory over the steps.

    What has no points yet is left out. Each trace carries the series and the name of its number in
    `meta`, so that a page can lengthen it.
    """
    lines = {key: line.thinned() for key, line in lines_of(events).items()}
    own = palette.TEACHER if recipe is Recipe.CLEAN else palette.STUDENT
    marks = _marks(_best(events))
    shown = {
        "loss": _terms(lines, own, [name for name in _terms_in(lines) if name not in _SMALL]),
        "terms": _terms(lines, own, [name for name in _terms_in(lines) if name in _SMALL]),
        "accuracy": _shares(lines, own),
    }
    axes = {
        "loss": {"title": {"text": "Loss"}, "rangemode": "tozero"},
        "terms": {"title": {"text": "Distance, before its weight"}, "rangemode": "tozero"},
        "accuracy": {"title": {"text": "Accuracy"}, "tickformat": ".0%", "rangemode": "tozero"},
    }
    figures = {
        name: _over_steps(traces, axes[name], **marks) for name, traces in shown.items() if traces
    }
    return figures | _paces(lines, own)


def _best(events: Sequence[Event]) -> tuple[int, int, int] | None:
    """The epoch that a run keeps, the step at which it ended, and the last one's.

    It has the highest robust accuracy on held-out images, for a clean model the highest clean
    accuracy; of equals it is the last.
    """
    scores, step = [], 0
    for body in events:
        if body["type"] != "metrics":
            continue
        if body["series"] == "step":
            step = body["step"]
        elif "validation_clean" in (values := body["values"]):
            score = values.get("validation_robust", values["validation_clean"])
            scores.append((score, body["step"], step))
    return (*max(scores)[1:], scores[-1][2]) if scores else None


def _marks(best: tuple[int, int, int] | None) -> Figure:
    """A line at the end of the best epoch, named at its foot, where charts are emptiest."""
    if best is None:
        return {}
    epoch, x, last = best
    line = {"color": "rgba(128,136,144,0.8)", "width": 1}
    name = {
        "x": x, "y": 0, "yref": "paper", "yanchor": "bottom", "showarrow": False,
        "text": f"best: epoch {epoch}", "font": {"size": 11},
        "xanchor": "right" if 2 * x > last else "left",
    }  # fmt: skip
    return {
        "shapes": [
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        ],
        "annotations": [name],
    }


def _over_steps(traces: Sequence[Figure], axis: Figure, **layout: Any) -> Figure:
    return charts.figure(
        traces,
        xaxis={"title": {"text": "Training step"}, "rangemode": "tozero"},
        yaxis=axis,
        hovermode="x unified",
        uirevision="kept",
        **layout,
    )


def _terms_in(lines: Mapping[str, Line]) -> list[str]:
    """The total and its terms, in their order; one that this page does not know comes last."""
    names = {key.split(":")[1] for key in lines if key.startswith(("step:", "epoch:"))}
    terms = names - set(_SHARES) - set(_PACES)
    order = list(_TERMS)
    return sorted(terms, key=lambda n: (order.index(n) if n in order else len(order), n))


def _terms(lines: Mapping[str, Line], own: str, names: Sequence[str]) -> list[Figure]:
    traces = []
    for name in names:
        label, number = _TERMS.get(name, (name.replace("_", " "), 4))
        hue = own if number is None else palette.OTHERS[number]
        traces += _pair(lines, name, label, hue, "solid", "%{y:.4g}")
    return traces


def _shares(lines: Mapping[str, Line], own: str) -> list[Figure]:
    traces = []
    for name, (label, dash) in _SHARES.items():
        if name.startswith("train"):
            traces += _pair(lines, name, label, own, dash, "%{y:.1%}", epochs=False)
        else:
            traces += _pair(lines, name, label, own, dash, "%{y:.1%}")
    return traces


def _paces(lines: Mapping[str, Line], own: str) -> dict[str, Figure]:
    figures = {}
    for number, (name, title, hover) in _PACES.items():
        traces = _pair(lines, number, title, own, "solid", hover, epochs=number != "learning_rate")
        if traces:
            axis = {"title": {"text": title}, "rangemode": "tozero"}
            figures[name] = _over_steps(traces, axis, showlegend=False)
    return figures


def _pair(
    lines: Mapping[str, Line],
    name: str,
    label: str,
    hue: str,
    dash: str,
    hover: str,
    *,
    epochs: bool = True,
) -> list[Figure]:
    """A number's means over steps and over epochs, as far as there are any; one in the legend."""
    steps, ends = lines.get(f"step:{name}"), lines.get(f"epoch:{name}") if epochs else None
    thin = None if steps is None else charts.line(steps.xs, steps.ys, label, hue, dash=dash)
    thick = None if ends is None else charts.line(ends.xs, ends.ys, label, hue, dash=dash)
    traces = []
    if thin is not None:
        faint = {"width": 1 if ends else 1.5, "dash": dash, "color": hue}
        style = {"line": faint, "opacity": 0.5 if ends else 0.85, "showlegend": thick is None}
        hidden = {"hoverinfo": "skip"} if ends else {"hovertemplate": hover}
        traces.append(thin | style | hidden | {"meta": f"step:{name}", "legendgroup": name})
    if thick is not None:
        style = {"mode": "lines+markers", "marker": {"size": 6, "color": hue}}
        traces.append(
            thick | style | {"meta": f"epoch:{name}", "legendgroup": name, "hovertemplate": hover}
        )
    return traces
