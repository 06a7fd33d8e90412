"""Measured models in short, and side by side with those that were measured the same way."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from app.contracts.attacks import Goal, Norm
from app.contracts.recipes import Recipe
from app.contracts.results import Accuracy, CurvePoint, Light, Reported
from app.contracts.words import threat_model


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Figures(_View):
    """What is known of a model, or of the most robust of several."""

    clean: Accuracy
    robust: Accuracy | None
    autoattack: Accuracy | None
    held_out: bool
    """Whether on held-out images, where `robust` is under PGD-10; else on test images, where it is
    the worst case over all attacks."""
    norm: Norm = Norm.LINF
    epsilon: float
    """The budget of the attacks; of figures on held-out images, that of the training."""
    light: Light | None = None
    """The verdict on `robust`; None where there is none."""
    models: int = 1
    """How many there are, of which this is the most robust one."""
    job: str = ""
    """The evaluation that measured them; empty for figures on held-out images."""

    @property
    def threat(self) -> str:
        """`8/255 (L∞)`."""
        return threat_model(self.norm, self.epsilon)


class Condition(_View):
    """A dataset and a threat model: only figures under the same condition compare."""

    dataset: str
    """The checksum of its images."""
    dataset_name: str
    norm: Norm
    epsilon: float
    goal: Goal
    models: int
    """How many models were measured so."""
    shipped: bool = False
    """Whether the figures came with the lab: other images of the same dataset, so apart from those
    that it measured itself."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """The threat model in an address: `linf-0.03137254901960784-untargeted`."""
        said = f"{self.norm}-{self.epsilon!r}-{self.goal}"
        return f"{said}-shipped" if self.shipped else said

    @computed_field  # type: ignore[prop-decorator]
    @property
    def threat(self) -> str:
        """`8/255 (L∞)`, with the goal where it is not any wrong class."""
        said = threat_model(self.norm, self.epsilon)
        said = f"{said}, came with the lab" if self.shipped else said
        return said if self.goal is Goal.UNTARGETED else f"{said}, goal: {self.goal.record.title}"


class Entry(_View):
    """A model on the board."""

    model: str
    name: str
    """Outside text."""
    recipe: Recipe | None
    """None where it is not known."""
    recipe_name: str
    """As papers call it: `AGKD-BML-7`; empty where it is not known."""
    figures: Figures
    job: str
    """The evaluation that measured it; empty for figures that came with the lab."""
    attacks: str = ""
    """What the evaluation ran: `PGD-20; AutoAttack`; known of the first entries only."""
    curve: tuple[CurvePoint, ...] = ()
    """Accuracy against the budget under the first attack; of the first entries only."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def light(self) -> Light | None:
        """The verdict; None in results of lab 0.1."""
        return self.figures.light


class Board(_View):
    """What was measured under one condition, the most robust first."""

    condition: Condition
    entries: tuple[Entry, ...]
    reported: tuple[Reported, ...]
    """Published figures under this very condition; empty where none can be compared."""
    left_out: int
    """Entries beyond those shown."""
