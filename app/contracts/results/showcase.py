"""What ships with the models in the box so that the first page shows them before anything ran.

Candidates are pictures of free licence. Each was attacked by an `explain` job of the box's clean
model and its student; those on which both are right, and the attack breaks the teacher alone, are
shown.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.contracts.params import ExplainParams
from app.contracts.results.base import Environment, Integers, Numbers, Result
from app.contracts.results.live import LiveModel, MapSheet
from app.contracts.results.summary import EvaluationSummary

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Picture(Result):
    """A picture of free licence to try the lab with."""

    name: Name
    """Of its file, without `.jpg`."""
    title: str
    label: str
    """What it shows: a class of the models in the box."""
    drawing: bool
    author: str
    source: Annotated[str, Field(pattern=r"^https://")]
    licence: Literal["CC0 1.0", "CC BY 2.0", "public domain"]
    found_in: str
    """The package that it was taken from."""
    changed: str
    """What was done to it."""

    @property
    def address(self) -> str:
        """Where the lab serves it."""
        return f"/static/examples/{self.name}.jpg"

    @property
    def credit(self) -> str:
        """Who made it, and under which licence; of a drawing, whose source has no page of its own,
        the file that it was taken from."""
        said = f"{self.author}, {self.licence}"
        return f"{said}, from {self.found_in}" if self.drawing else said


class ShowcaseView(Result):
    """What one model makes of the pictures that were crafted on it, one for each budget."""

    changes_png: str
    """A tile for each budget, one below the other, as in `Attacked.changes_png`."""
    attention: MapSheet
    """The paper's channel sum, a map below the other."""
    top: Integers
    """The likeliest class."""
    confidence: Numbers
    """Its probability."""


class ShowcasePicture(Result):
    """One picture, attacked white-box on the teacher and on the student: the last iterate at every
    budget, as its `explain` job left it."""

    picture: Picture
    sha256: Sha256
    """Of the picture's file."""
    params: ExplainParams
    models: tuple[LiveModel, LiveModel]
    """Teacher and student."""
    classes: tuple[str, ...]
    budgets: Numbers
    """In [0, 1] units; the first is 0, the clean image."""
    image_size: int
    clean_png: str
    """PNG data, base64."""
    views: tuple[ShowcaseView, ShowcaseView]
    environment: Environment

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for view in self.views:
            if not len(view.top) == len(view.confidence) == len(self.budgets):
                raise ValueError("a view needs a class and a probability for each budget")
            if not all(0 <= top < len(self.classes) for top in view.top):
                raise ValueError("a view names a class that there is not")
        if self.picture.label not in self.classes:
            raise ValueError("the picture shows no class of the models")
        return self

    def says(self, model: int, budget: int) -> str:
        """The class that a model gives at the budget of this number."""
        return self.classes[self.views[model].top[budget]]

    def at(self, epsilon: float) -> int:
        """The number of the budget nearest to `epsilon`."""
        return min(range(len(self.budgets)), key=lambda i: abs(self.budgets[i] - epsilon))

    def holds(self, epsilon: float) -> bool:
        """Whether both are right on the clean image, and at `epsilon` the student alone is."""
        label, at = self.picture.label, self.at(epsilon)
        clean = self.says(0, 0) == label == self.says(1, 0)
        return clean and self.says(0, at) != label == self.says(1, at)


class Showcase(Result):
    """The pictures shown, in order, how they were chosen, and the box's curves."""

    epsilon: float
    """The budget at which they had to hold, in [0, 1] units."""
    tried: int
    """Candidates that were attacked."""
    held: int
    """Of these, how many held; at most one photograph and one drawing of each class is shown."""
    pictures: tuple[Name, ...]
    curves: EvaluationSummary
    curves_environment: Environment
