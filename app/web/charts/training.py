"""The charts of a training, from what it reported, while it runs and after.

Thin lines are means of a few steps, thick ones with dots those of a whole epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.contracts.attacks import VALIDATION_ATTACK
from app.contracts.params import Recipe
from app.web.charts import base as charts
from app.web.charts import palette
from app.web.charts.base import Figure
from app.web.charts.places import Places
from app.web.charts.reported import Event, Line, Run, bodies, lines_of

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


def training_figures(runs: Sequence[Run], recipe: Recipe | None) -> dict[str, Figure]:
    """Terms of the loss, accuracies, learning rate, pace and memory over the steps of all runs.

    What has no points yet is left out. Each trace carries the series and the name of its number in
    `meta`, so that a page can lengthen it, and each point its epoch and its time, so that a page
    can draw it over these.
    """
    events, places = bodies(runs), Places.of(runs)
    lines = {key: _Placed.of(line, places) for key, line in lines_of(events).items()}
    own = palette.TEACHER if recipe and recipe.is_teacher else palette.STUDENT
    marks = _marks(_best(events), places)
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


@dataclass(frozen=True)
class _Placed:
    """A line, and where its points lie on other axes."""

    line: Line
    places: list[list[float]]

    @classmethod
    def of(cls, line: Line, places: Places) -> _Placed:
        thinned = line.thinned()
        return cls(thinned, places.at(thinned.xs))

    def drawn(self, label: str, hue: str, dash: str) -> Figure:
        trace = charts.line(self.line.xs, self.line.ys, label, hue, dash=dash)
        return trace | {"customdata": self.places}


def _best(events: Sequence[Event]) -> tuple[int, int] | None:
    """The epoch that a run keeps, and the step at which it ended.

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
    return max(scores)[1:] if scores else None


def _marks(best: tuple[int, int] | None, places: Places) -> Figure:
    """A line at the end of the best epoch; the legend names it, so that no curve is covered."""
    if best is None:
        return {}
    epoch, x = best
    mark = {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": "rgba(128,136,144,0.8)", "width": 1},
        "name": f"Best: epoch {epoch}", "showlegend": True,
    }  # fmt: skip
    return {"shapes": [mark], "meta": {"best": places.at([x])[0]}}


def _over_steps(traces: Sequence[Figure], axis: Figure, **layout: Any) -> Figure:
    return charts.figure(
        traces,
        xaxis={"title": {"text": "Training step"}, "rangemode": "tozero"},
        yaxis=axis,
        hovermode="x unified",
        uirevision="kept",
        **layout,
    )


def _terms_in(lines: Mapping[str, _Placed]) -> list[str]:
    """The total and its terms, in their order; one that this page does not know comes last."""
    names = {key.split(":")[1] for key in lines if key.startswith(("step:", "epoch:"))}
    terms = names - set(_SHARES) - set(_PACES)
    order = list(_TERMS)
    return sorted(terms, key=lambda n: (order.index(n) if n in order else len(order), n))


def _terms(lines: Mapping[str, _Placed], own: str, names: Sequence[str]) -> list[Figure]:
    traces = []
    for name in names:
        label, number = _TERMS.get(name, (name.replace("_", " "), 4))
        hue = own if number is None else palette.OTHERS[number]
        traces += _pair(lines, name, label, hue, "solid", "%{y:.4g}")
    return traces


def _shares(lines: Mapping[str, _Placed], own: str) -> list[Figure]:
    traces = []
    for name, (label, dash) in _SHARES.items():
        if name.startswith("train"):
            traces += _pair(lines, name, label, own, dash, "%{y:.1%}", epochs=False)
        else:
            traces += _pair(lines, name, label, own, dash, "%{y:.1%}")
    return traces


def _paces(lines: Mapping[str, _Placed], own: str) -> dict[str, Figure]:
    figures = {}
    for number, (name, title, hover) in _PACES.items():
        traces = _pair(lines, number, title, own, "solid", hover, epochs=number != "learning_rate")
        if traces:
            axis = {"title": {"text": title}, "rangemode": "tozero"}
            figures[name] = _over_steps(traces, axis, showlegend=False)
    return figures


def _pair(
    lines: Mapping[str, _Placed],
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
    thin = None if steps is None else steps.drawn(label, hue, dash)
    thick = None if ends is None else ends.drawn(label, hue, dash)
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
