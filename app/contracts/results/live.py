"""What a live attack leaves."""

from __future__ import annotations

from typing import Literal

from app.contracts.params import Attack, CraftedOn, ExplainParams
from app.contracts.results.base import Environment, Lineage, Result

Grid = tuple[tuple[float, ...], ...]
"""An attention map, rows of values in [0, 1]."""


class View(Result):
    """What one model makes of one image."""

    probabilities: tuple[float, ...]
    attention: Grid
    """The paper's class-irrelevant channel sum."""
    grad_cam: Grid
    """For the class that the model predicts."""
    attention_l1: float
    """Mean absolute distance to the teacher's map on the clean image."""
    attention_cosine: float
    grad_cam_l1: float
    grad_cam_cosine: float


class Level(Result):
    """One position of the slider. Images are PNG data, base64."""

    epsilon: float
    adversarial_png: str
    perturbation_png: str
    """Diverging: grey is no change, full colour is `perturbation_range`."""
    max_change: float
    """L-infinity norm of the perturbation, in [0, 1] units."""
    l2_change: float
    teacher: View
    student: View


class ExplainResult(Result):
    """Everything that the live view shows, so that its slider needs no further call."""

    kind: Literal["explain"] = "explain"
    params: ExplainParams
    classes: tuple[str, ...]
    label: str
    label_is_given: bool
    teacher: Lineage
    student: Lineage
    crafted_on: CraftedOn
    attack: Attack
    clean_png: str
    perturbation_range: float
    """The change, in [0, 1] units, drawn in full colour in `perturbation_png`."""
    levels: tuple[Level, ...]
    """From 0 (the clean image) to the largest budget."""
    environment: Environment
