"""An evaluation in short, as its page begins and as other pages show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.contracts.results import Accuracy, EvaluationSummary, ModelSummary, VerdictSummary
from app.contracts.words import attack, budget
from app.web import words
from app.web.charts.base import Recipes, styled
from app.web.charts.palette import identity


@dataclass(frozen=True)
class Chart:
    """A place for a figure; `name` is that of `app.web.charts.evaluation`."""

    name: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class ModelHeadline:
    """One model of the evaluation; `name` is outside text."""

    model: str
    name: str
    identity: str
    """The style sheet's name of its colour."""
    clean: Accuracy
    robust: Accuracy | None
    """The worst case; None in results of lab 0.1."""
    alone: Accuracy | None
    """Under the first attack alone, at the budget of the threat model."""
    verdict: VerdictSummary | None

    @property
    def figures(self) -> tuple[tuple[str, Accuracy, str], ...]:
        """Title, share and kind of bar of each figure."""
        found = [("Clean", self.clean, "clean")]
        if self.robust is not None:
            found.append(("Robust, worst case", self.robust, "attacked"))
        return tuple(found)


@dataclass(frozen=True)
class Headlines:
    """What was found in short."""

    threat: str
    """`L∞, ε = 8/255`."""
    attack: str
    """The first attack: `PGD-20, 5 restarts`."""
    images: int
    """Test images that were measured."""
    dataset: str
    """Its name; outside text."""
    models: tuple[ModelHeadline, ...]
    curves: tuple[Chart, ...]
    """Against the budget and against steps, as far as there are points."""


def headlines(found: EvaluationSummary, recipes: Recipes) -> Headlines:
    """`recipes` are of the models still known, by id."""
    params = found.params
    return Headlines(
        threat=words.threat(params.attack.norm, params.epsilon),
        attack=attack(params.attack),
        images=found.images,
        dataset=found.dataset.name,
        models=tuple(
            ModelHeadline(
                model=one.model.model,
                name=one.model.name,
                identity=identity(one.hue),
                clean=one.model.clean,
                robust=one.model.robust,
                alone=_alone(found, one.model),
                verdict=one.model.verdict,
            )
            for one in styled(found.models, recipes)
        ),
        curves=tuple(_curves(found)),
    )


def _curves(found: EvaluationSummary) -> Iterator[Chart]:
    most = budget(found.params.attack.norm, found.params.epsilon)
    kink = f" Further attacks count from ε = {most}." if found.params.further else ""
    if any(model.against_epsilon for model in found.models):
        note = f"Bands are 95 % intervals.{kink}"
        yield Chart("epsilon", "Accuracy against the budget", note)
    if any(model.against_steps for model in found.models):
        note = f"At ε = {most}; solid: clean accuracy."
        yield Chart("steps", "Accuracy against the attack's steps", note)


def _alone(found: EvaluationSummary, model: ModelSummary) -> Accuracy | None:
    first = found.params.attack.method
    rows = (r.alone for r in model.attacks if r.method is first and not r.part_of_autoattack)
    if (alone := next(rows, None)) is not None:
        return alone
    points = (p.accuracy for p in model.against_epsilon if p.x == found.params.epsilon)
    return next(points, None)
