"""What the showcase says of the models in the box, for the pages that show it."""

from __future__ import annotations

from dataclasses import dataclass

from app.contracts.results import EvaluationSummary
from app.contracts.units import to_255
from app.contracts.words import attack
from app.services import showcase
from app.services.lab import Lab
from app.web.charts.showcase import distinct
from app.web.words import count


@dataclass(frozen=True)
class ShownPicture:
    """A picture to choose; its results are fetched when it is chosen."""

    name: str
    title: str
    image: str
    """Address of the picture."""
    results: str
    """Address of what the attacks on it left."""
    credit: str
    """Who made it, under which licence."""
    source: str
    """Address of the original."""


@dataclass(frozen=True)
class ShownBox:
    """What the showcase says of the models in the box."""

    pictures: tuple[ShownPicture, ...]
    names: tuple[str, str]
    """Teacher and student, in short."""
    epsilon: int
    """In grey levels of 255: where the slider stands at first."""
    budgets: int
    """Positions of the slider."""
    smoothing: float | None
    """How much of each label was spread over other classes; None where that differs."""
    tried: int
    held: int
    legend: str
    """What the curves are, and of how many images; holds outside text."""


def shown_box(lab: Lab) -> ShownBox | None:
    """None where the lab has no showcase that is true of its models."""
    facts, pictures = showcase.facts(lab), showcase.pictures(lab)
    if facts is None:
        return None
    teacher, student = pictures[0].models
    short = distinct([teacher.name, student.name])
    smoothing = {model.label_smoothing for model in (teacher, student)}
    return ShownBox(
        pictures=tuple(
            ShownPicture(
                name=one.picture.name,
                title=one.picture.title,
                image=one.picture.address,
                results=f"/showcase/{one.picture.name}.json?v={showcase.version(lab)}",
                credit=one.picture.credit,
                source=one.picture.source,
            )
            for one in pictures
        ),
        names=(short[0], short[1]),
        epsilon=round(to_255(facts.epsilon)),
        budgets=len(pictures[0].budgets),
        smoothing=smoothing.pop() if len(smoothing) == 1 else None,
        tried=facts.tried,
        held=facts.held,
        legend=_legend(lab, facts.curves),
    )


def _legend(lab: Lab, curves: EvaluationSummary) -> str:
    said = f"Dashed: {attack(curves.params.attack)}, with 95 % bands."
    marked = {mark.n for mark in showcase.autoattack(lab).values()}
    if marked:
        said += " Stars: worst case with AutoAttack, with 95 % intervals."
    said += f" n = {count(curves.images)} test images of {curves.dataset.name}"
    if marked - {curves.images}:
        said += f", {count(min(marked))} for AutoAttack"
    return f"{said}."
