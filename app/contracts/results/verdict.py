"""Whether an evaluation can be trusted: every check with its figure and a sentence."""

from __future__ import annotations

from enum import StrEnum

from app.contracts.results.base import Result


class Light(StrEnum):
    """How far a figure can be trusted."""

    GREEN = "green"
    """Nothing speaks against it."""
    AMBER = "amber"
    """A check is missing, or its figure is unusual: read the sentence before quoting."""
    RED = "red"
    """The evaluation is broken; the robust accuracy is not to be quoted."""

    @property
    def standing(self) -> str:
        """What a robust accuracy is worth under such a verdict, in a word or two."""
        return _STANDING[self]


_STANDING = {Light.GREEN: "quotable", Light.AMBER: "upper bound", Light.RED: "invalid"}


class Check(Result):
    """One reason to trust or to doubt."""

    id: str
    """Stable, for programs: `zero_gradients`, `autoattack_gap`."""
    title: str
    light: Light
    figure: str
    """What was measured, with its unit and number of images; `not measured` where it was not."""
    sentence: str
    """What the figure means and, unless green, what to do."""
    problem: str = ""
    """The doubt in plain words with its figure: `Only 50 images: ± 14 points`. Empty where green,
    and in results from before problems were said so."""


class Verdict(Result):
    """As bad as the worst of its checks, which come worst first."""

    light: Light
    sentence: str
    """The whole, in words."""
    checks: tuple[Check, ...]
