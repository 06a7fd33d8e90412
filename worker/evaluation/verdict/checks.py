"""What checks are written with: lights of a count, figures in words."""

from __future__ import annotations

from collections.abc import Iterable

from app.contracts.results import Check, Light

_WORST_FIRST = (Light.RED, Light.AMBER, Light.GREEN)
NOT_MEASURED = "not measured"
NONE_RIGHT = "No image of the probe is right even when clean"


def worst(lights: Iterable[Light]) -> Light:
    """The worst of them, of which there is at least one."""
    return min(lights, key=_WORST_FIRST.index)


def worst_first(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Sorted by light; checks of one light stay in their order."""
    return tuple(sorted(checks, key=lambda check: _WORST_FIRST.index(check.light)))


def light_of(count: int, n: int, *, amber: float, red: float) -> Light:
    """Red where more than `red` of the n images, two or more; amber where more than `amber`."""
    share = count / n
    if share > red and count >= 2:
        return Light.RED
    return Light.AMBER if share > amber else Light.GREEN


def check(
    name: str, title: str, light: Light, figure: str, problem: str = "", **said: str
) -> Check:
    """A check that was measured; `said` has a sentence for every light that it can come to.

    `problem` is what people read where it is not green; empty for a check that is always green.
    """
    return Check(
        id=name, title=title, light=light, figure=figure, sentence=said[light.value],
        problem="" if light is Light.GREEN else problem,
    )  # fmt: skip


def unmeasured(name: str, title: str, problem: str, sentence: str) -> Check:
    """Amber: what nobody looked at is no evidence."""
    return Check(
        id=name, title=title, light=Light.AMBER, figure=NOT_MEASURED,
        sentence=f"Not measured: {sentence}", problem=problem,
    )  # fmt: skip


def nothing_left(name: str, title: str) -> Check:
    """Green: where no image stands, no attack has anything to find."""
    sentence = "No image withstood the other attacks, so there is nothing left to break."
    return Check(
        id=name, title=title, light=Light.GREEN, figure="no image stands", sentence=sentence
    )


def images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def of(count: int, n: int) -> str:
    """`3 of 128 images`."""
    return f"{count:,} of {images(n)}"
